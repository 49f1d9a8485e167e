"""Features of pictures, videos and texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from uniadapter.checkpoints.files import write
from uniadapter.models.tasks import GroundingModel, RetrievalModel, VisionLanguageModel
from uniadapter.structures import MultimodalSample
from uniadapter.visualization.report import Entry

from ..encoding import check_one_adapter
from .base import BaseInferencer

STAGES = ("embedding", "tokens")


class FeatureExtractor(BaseInferencer):
    """Gives the features of pictures, videos or texts.

    See :class:`BaseInferencer` for the arguments.
    """

    visualize_kwargs: ClassVar[set] = set()
    forward_kwargs: ClassVar[set] = {"stage"}
    ending = ".safetensors"
    needs = "a model with a visual tower, of any task but grounding"

    @classmethod
    def runs(cls, model: nn.Module) -> bool:
        """Whether it sees pictures or videos by themselves."""
        # Grounding prepares pictures together with expressions.
        apart = isinstance(model, VisionLanguageModel) and not isinstance(model, GroundingModel)
        return apart and model.visual is not None

    @property
    def embeds(self) -> bool:
        """Whether the model brings media and texts into one space."""
        return isinstance(self.model, RetrievalModel)

    def __call__(
        self,
        inputs: Any = None,
        return_datasamples: bool = False,
        batch_size: int = 8,
        texts: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> list:
        """Compute features.

        Args:
            inputs (Any): One medium or a list of them, see :mod:`uniadapter.apis.inputs`.
            return_datasamples (bool): See :meth:`BaseInferencer.__call__`. Defaults to False.
            batch_size (int): Inputs at once. Defaults to 8.
            texts (str | Sequence[str], optional): Texts instead of media; of retrieval models.
            **kwargs: ``stage``: ``'embedding'``, of retrieval models and their default, or
                ``'tokens'``; ``out_file``: a safetensors file of all features by their keys, the
                inputs being the first dimension.

        Returns:
            list: For each input a dict of tensors on the CPU. Media: ``visual_features`` (E,) and
            ``frame_features`` (N, E), or ``visual_tokens`` (N, M, D); texts: ``text_features``
            (E,), or ``text_tokens`` (L, D) without padding. Features have length 1, and their
            products are cosines.

        Raises:
            MediaError: If a medium can't be read.
            ValueError: If there is none, both media and texts are given, or the model has no such
                stage.
        """
        if (inputs is None) == (texts is None):
            raise ValueError("FeatureExtractor takes either media or texts.")
        check_one_adapter(self.model)
        if texts is not None:
            listed = [texts] if isinstance(texts, str) else list(texts)
            for text in listed:
                if not isinstance(text, str):
                    raise ValueError(f"A text is expected, got {type(text).__name__}.")
            inputs = [_Text(text) for text in listed]
        return super().__call__(inputs, return_datasamples, batch_size, **kwargs)

    def preprocess(self, inputs: list, batch_size: int = 1, **kwargs: Any) -> Iterator[dict]:
        """Batches of media, or of texts."""
        if not isinstance(inputs[0], _Text):
            yield from super().preprocess(inputs, batch_size, **kwargs)
            return
        for start in range(0, len(inputs), batch_size):
            given = inputs[start : start + batch_size]
            yield {"texts": given, "cleaned": self.pipeline.read_text([str(t) for t in given])}

    def forward(
        self, inputs: dict, stage: str | None = None, **kwargs: Any
    ) -> list[MultimodalSample]:
        """Features of a batch."""
        stage = stage or ("embedding" if self.embeds else "tokens")
        if stage not in STAGES:
            raise ValueError(f"stage must be one of {STAGES}, got {stage!r}.")
        if not self.embeds and (stage == "embedding" or "texts" in inputs):
            raise ValueError(
                f"A {type(self.model).__name__} has no embeddings of media and texts, which are a "
                "retrieval model's: it gives stage='tokens' of media."
            )
        with torch.no_grad(), self.model.frozen_autocast():
            if "texts" in inputs:
                return self._of_texts(inputs, stage)
            return self._of_media(inputs, stage)

    def _of_media(self, inputs: dict, stage: str) -> list[MultimodalSample]:
        batch = self.model.data_preprocessor(inputs, False)
        samples: list[MultimodalSample] = batch["data_samples"]
        if not self.embeds:
            return _given(samples, visual_tokens=self.model.encode_frames(batch["pixels"]))
        padded = {key: batch[key] for key in ("frame_mask",) if key in batch}
        only = stage == "embedding"
        tokens, features, frames = self.model.encode_visual(batch["pixels"], only, **padded)
        if only:
            return _given(samples, visual_features=features, frame_features=frames)
        return _given(samples, visual_tokens=tokens)

    def _of_texts(self, inputs: dict, stage: str) -> list[MultimodalSample]:
        device = next(self.model.parameters()).device
        words = self.model.data_preprocessor.tokenize(inputs["cleaned"])
        ids, mask = (t.to(device) for t in words)
        samples = [MultimodalSample(metainfo={"text": str(text)}) for text in inputs["texts"]]
        only = stage == "embedding"
        tokens, features = self.model.encode_text(ids, mask, only)
        if only:
            return _given(samples, text_features=features)
        for sample, row, seen in zip(samples, tokens, mask.bool(), strict=True):
            sample.set_field(row[seen].cpu(), "text_tokens")
        return samples

    def result(self, sample: MultimodalSample) -> dict[str, Tensor]:
        """The features of one input."""
        return dict(sample.items())

    def entry(self, given: Any, sample: MultimodalSample) -> Entry:
        """Features are not drawn."""
        raise NotImplementedError

    def save(self, results: list, path: Path) -> None:
        """Write features as safetensors."""
        shapes = {key: {tuple(row[key].shape) for row in results} for key in results[0]}
        for key, found in shapes.items():
            if len(found) > 1:
                raise ValueError(
                    f"out_file: {key} have different shapes, {sorted(found)[:3]}, and are not "
                    "stacked: leave out_file out."
                )
        write(path, {key: torch.stack([row[key] for row in results]) for key in shapes})


class _Text(str):
    """A text that stands where media do."""

    __slots__ = ()


def _given(samples: list[MultimodalSample], **rows: Tensor) -> list[MultimodalSample]:
    """Samples with their rows of tensors."""
    for name, tensor in rows.items():
        for sample, row in zip(samples, tensor.cpu(), strict=True):
            sample.set_field(row, name)
    return samples
