"""An exported folder as an engine: no tower is built, and nothing of torch.nn runs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uniadapter.apis.export import load_exported
from uniadapter.apis.export.facts import of_facts
from uniadapter.apis.inputs import InputReader
from uniadapter.retrieval import RetrievalOptions, Texts

from .engine import EncodedMedia, cosine_weights
from .hits import Kind
from .reading import query_frames


class OnnxEngine:
    """The files of ``uniadapter export`` as an engine, whichever of the formats they have.

    What it is bound to is what :class:`~.engine.TorchEngine` of the same model is bound to: an
    index that one of them made is searched by the other. Their scores differ by the rounding of
    float32, which the export looked at.

    Args:
        folder: The folder.
        options: How it ranks, of which ``k_test`` and ``itc_weight`` are read. None: as the
            model's config.
        device: Where the files run.

    Raises:
        FileNotFoundError: If the folder or a file is missing.
        ImportError: If onnxruntime is needed and not installed.
        ValueError: If a file is damaged, or an option is wrong.
    """

    def __init__(
        self,
        folder: str | Path,
        options: RetrievalOptions | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.model = load_exported(folder, device)
        facts = self.model.facts
        with of_facts(self.model.folder, "ranking") if options is None else nullcontext():
            given = RetrievalOptions(**facts.ranking) if options is None else options
            self.options = replace(given, gallery_dtype="float16", amp_dtype=None)
            self.options.check_values("options", facts.matches)

    @property
    def reader(self) -> InputReader:
        """See :class:`SearchEngine`, as are the others."""
        return self.model.reader

    @property
    def reranks(self) -> bool:  # noqa: D102
        return self.options.shortlisted > 0

    @property
    def frames(self) -> int:  # noqa: D102
        return self.model.facts.frames

    @property
    def binding(self) -> dict[str, str]:  # noqa: D102
        return dict(self.model.facts.binding["reranked" if self.reranks else "similar"])

    @property
    def feature_size(self) -> int:  # noqa: D102
        return self.model.facts.feature_size

    @property
    def token_shape(self) -> tuple[int, int, int]:  # noqa: D102
        count, width = self.model.facts.token_shape
        return self.frames, count, width

    def read(self, media: Sequence[Any], kind: Kind) -> Any:  # noqa: D102
        return self.batch([query_frames(self.reader, medium, kind) for medium in media])

    def batch(self, frames: Sequence[Tensor]) -> Any:  # noqa: D102
        return self.model.batch(frames)

    def encode_media(self, batch: Any) -> EncodedMedia:  # noqa: D102
        found = self.model.programs.visual(**batch)
        tokens = found["tokens"].half() if self.reranks else None
        return EncodedMedia(found["features"], tokens, found["frame_cls"], found["frame_features"])

    def encode_texts(self, texts: Sequence[str]) -> Texts:  # noqa: D102
        words = self.model.words(texts)
        found = self.model.programs.text(**words)
        return Texts(found["features"], found["cls"], words["input_ids"], words["attention_mask"])

    def score(self, media: EncodedMedia, texts: Texts) -> Tensor:  # noqa: D102
        similar = media.features @ texts.features.t()
        if not self.reranks:
            return similar
        if media.tokens is None:
            raise ValueError("These media have no tokens, which re-ranking needs.")
        logits = self.model.programs.match(vars(media), vars(texts))
        return logits + self.options.itc_weight * similar

    def frame_weights(self, media: EncodedMedia, texts: Texts) -> Tensor:  # noqa: D102
        # Where no tokens are kept there are no class tokens, which the graph takes.
        if not self.model.programs.weighs or not media.frame_cls.shape[-1]:
            return cosine_weights(media.frame_features, texts.features)
        return self.model.programs.frames(vars(media), vars(texts))[1].movedim(0, 1)
