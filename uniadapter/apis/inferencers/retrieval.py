"""Videos, pictures or texts of a prototype that go with a query, best first."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import torch
from mmengine.config import Config
from torch import Tensor, nn

from uniadapter.evaluation.functional import OUTSIDE_SHORTLIST
from uniadapter.models.tasks import RetrievalModel
from uniadapter.retrieval import DiskTokens, Gallery, Ranker, RetrievalOptions, TextGallery, Texts
from uniadapter.structures import MultimodalSample
from uniadapter.visualization.report import Entry

from ..encoding import check_one_adapter
from .base import BaseInferencer, frames_panel
from .cache import PrototypeCache, binding_of, file_stamps, state_of
from .prototypes import MediaPrototype, MediaSource, open_texts, warn_of

_RANKING = {field.name for field in fields(RetrievalOptions)} - {"folds", "log_seconds"}


@dataclass(frozen=True)
class PrototypeOptions:
    """Options of a prototype.

    Args:
        cache: File of its features, ending in ``.safetensors``: read where it is there, else
            written. None: they are computed anew each time.
        rebuild: Write the file anew where it belongs to other weights, transforms or media, rather
            than refuse it.
        batch_size: Media encoded at once.
        on_error: A medium that can't be read: ``'raise'``, or ``'skip'`` to go without it.
    """

    cache: str | Path | None = None
    rebuild: bool = False
    batch_size: int = 8
    on_error: str = "raise"


def ranking_of(model: Any, given: Mapping[str, Any]) -> RetrievalOptions:
    """How a model ranks: as its config's test, but for what is given.

    Args:
        model (RetrievalModel): With its config.
        given (Mapping): Options of :class:`RetrievalOptions`.
    """
    tested = model.cfg.get("test_cfg") or model.cfg.get("val_cfg") or {}
    own = {name: tested[name] for name in _RANKING if name in tested}
    if not model.matches:
        own["k_test"] = 0
    return RetrievalOptions(**{**own, **given})


class RetrievalInferencer(BaseInferencer):
    """Base class of inferencers that rank what a prototype holds for each query.

    Scores are those of the test loop on the same data (docs/inference.md).

    Args:
        model (str | Path | Config | nn.Module): See :class:`BaseInferencer`.
        prototype (Any): What is to be found; see the class.
        prototype_cache (str | Path, optional): See :class:`PrototypeOptions`.
        fast_match (bool): Rank by similarity alone and keep no visual tokens. Defaults to False:
            shortlists are re-ranked by image-text matching where the model can.
        prepare_batch_size (int): Media of the prototype encoded at once. Defaults to 8.
        pretrained (bool | str | Path): See :class:`BaseInferencer`.
        device (str | torch.device, optional): See :class:`BaseInferencer`.
        **kwargs: ``rebuild_cache`` and ``on_error`` of the prototype; options of
            :class:`uniadapter.retrieval.RetrievalOptions`, whose defaults are the config's
            ``test_cfg``; other arguments of :class:`BaseInferencer`.

    Raises:
        FileNotFoundError: If config, checkpoint, folder or file do not exist.
        MediaError: If a medium of the prototype can't be read.
        ValueError: If the prototype is empty, the model is of another task, a cache belongs to
            something else, or an option is wrong.
    """

    forward_kwargs: ClassVar[set] = {"topk"}
    needs = "a retrieval model (RetrievalModel, VseModel)"
    task = "Retrieval"

    def __init__(
        self,
        model: str | Path | Config | nn.Module,
        prototype: Any,
        prototype_cache: str | Path | None = None,
        fast_match: bool = False,
        prepare_batch_size: int = 8,
        pretrained: bool | str | Path = True,
        device: str | torch.device | None = None,
        **kwargs: Any,
    ) -> None:
        ranking = {name: kwargs.pop(name) for name in _RANKING & set(kwargs)}
        self.options = PrototypeOptions(
            prototype_cache,
            kwargs.pop("rebuild_cache", False),
            prepare_batch_size,
            kwargs.pop("on_error", "raise"),
        )
        super().__init__(model, pretrained, device, **kwargs)
        if fast_match and ranking.get("k_test"):
            raise ValueError(f"fast_match=True re-ranks nothing: leave out k_test={ranking}.")
        if fast_match:
            ranking["k_test"] = 0
        self.ranker = Ranker(self.model, ranking_of(self.model, ranking))
        self.prototype = prototype
        self.prepare_prototype()

    @classmethod
    def runs(cls, model: nn.Module) -> bool:
        """Whether it ranks."""
        return isinstance(model, RetrievalModel)

    def prepare_prototype(self) -> None:
        """Encode the prototype, as the model is now."""
        check_one_adapter(self.model)
        self.model.eval()
        cache = self.options.cache
        self._encode(None if cache is None else PrototypeCache(cache, self.options.rebuild))
        self._state = state_of(self.model)

    @abstractmethod
    def _encode(self, cache: PrototypeCache | None) -> None:
        """Encode the prototype, or read it from its file."""

    def _binding(self, transforms: list[str], items: Any) -> dict[str, Any]:
        return binding_of(self.model, self.ranker.options, transforms, items)

    def __call__(
        self, inputs: Any, return_datasamples: bool = False, batch_size: int = 8, **kwargs: Any
    ) -> list:
        """Rank the prototype for queries.

        Args:
            inputs (Any): A query or a list of them.
            return_datasamples (bool): Return samples, whose ``pred_score`` (G,) is of all that the
                prototype holds, -100 for what is on no shortlist. Defaults to False.
            batch_size (int): Queries at once. Defaults to 8, for texts to 256.
            **kwargs: ``topk``: how many are returned for each, at most, 5 by default; ``show_dir``
                and ``out_file`` as in the base class.

        Returns:
            list: For each query a list of dicts, the best first: ``match_score`` (float), the score
            of the test loop; ``similarity`` (float), the cosine; ``sample_idx`` (int), the place in
            the prototype; ``sample`` (dict), what is known of it.

        Raises:
            MediaError: If a query can't be read.
            ValueError: If there are none, one is blank, ``topk`` is below 1, or the model is
                another one than when the prototype was encoded.
        """
        if state_of(self.model) != self._state:
            raise ValueError(
                "The model's weights or adapter are others than those the prototype was encoded "
                "with: call prepare_prototype()."
            )
        return super().__call__(inputs, return_datasamples, batch_size, **kwargs)

    def _matched(
        self, samples: list[MultimodalSample], scores: Tensor, similar: Tensor, topk: int
    ) -> list[MultimodalSample]:
        """Samples of Q queries with their scores (Q, G), and the best of them."""
        if topk < 1:
            raise ValueError(f"topk is how many are returned for a query, got {topk}.")
        if torch.isnan(scores).any():
            raise ValueError("Scores are NaN: look for a diverged or wrongly loaded checkpoint.")
        # Stable: equal ones stand in the order of the prototype.
        best = scores.sort(dim=1, descending=True, stable=True)
        for row, sample in enumerate(samples):
            matches = [
                {
                    "match_score": score,
                    "similarity": float(similar[row, place]),
                    "sample_idx": self._place(place),
                    "sample": self._known(place),
                }
                for score, place in zip(
                    best.values[row, :topk].tolist(), best.indices[row, :topk].tolist(), strict=True
                )
                if score > OUTSIDE_SHORTLIST
            ]
            sample.set_field(scores[row], "pred_score")
            sample.set_field(matches, "matches")
        return samples

    @abstractmethod
    def _place(self, row: int) -> int:
        """Place in the prototype of a candidate."""

    @abstractmethod
    def _known(self, row: int) -> dict[str, Any]:
        """What is known of a candidate."""

    def result(self, sample: MultimodalSample) -> list[dict[str, Any]]:
        """The best of a query."""
        matches: list[dict[str, Any]] = sample.matches
        return matches


class _TextToMedia(RetrievalInferencer):
    """Finds media by texts."""

    pictures: ClassVar[bool]
    gallery: Gallery

    def _encode(self, cache: PrototypeCache | None) -> None:
        options, ranking = self.options, self.ranker.options
        padded = self.model.data_preprocessor.pad_frames is not None
        source = MediaSource(
            self.pipeline, self.pictures, options.batch_size, padded, options.on_error
        )
        self._media = media = source.open(self.prototype)
        tokens: list[Tensor] | DiskTokens = []
        if ranking.gallery_dir is not None and ranking.shortlisted:
            tokens = DiskTokens(ranking.gallery_dir, media.size, "gallery_dir")
        self.gallery = self._open(media, tokens, cache)
        warn_of([medium.path for medium in self.gallery.skipped], media.size)

    def _open(
        self, media: MediaPrototype, tokens: list[Tensor] | DiskTokens, cache: PrototypeCache | None
    ) -> Gallery:
        """The media, encoded or from their file."""
        if cache is None:
            return self._read(media.batches(), media.size, tokens)
        if media.files is None:
            raise ValueError(
                "prototype_cache knows media by their files, and the prototype holds others: "
                "leave it out, or give a folder or a list of paths."
            )
        binding = self._binding(media.transforms, file_stamps(media.files))
        known = cache.load_media(binding, tokens)
        if known is not None:
            return known
        gallery = self._read(media.batches(), media.size, tokens)
        cache.save_media(gallery, binding)
        return gallery

    def _read(
        self, batches: Iterator[dict[str, Any]], size: int, tokens: list[Tensor] | DiskTokens
    ) -> Gallery:
        steps = -(-size // self.options.batch_size)
        return self.ranker.media(self._tracked(batches, steps, "Prototype"), tokens)

    def __call__(
        self, inputs: Any, return_datasamples: bool = False, batch_size: int = 256, **kwargs: Any
    ) -> list:
        """See :meth:`RetrievalInferencer.__call__`."""
        return super().__call__(inputs, return_datasamples, batch_size, **kwargs)

    def _inputs_to_list(self, inputs: Any) -> list:
        if isinstance(inputs, str):
            return [inputs]
        if not isinstance(inputs, list | tuple) or not all(isinstance(t, str) for t in inputs):
            raise ValueError(f"{type(self).__name__} takes a text or a list of texts.")
        return list(inputs)

    def preprocess(self, inputs: list, batch_size: int = 1, **kwargs: Any) -> Iterator[dict]:
        """Batches of texts, as they were given and cleaned."""
        for start in range(0, len(inputs), batch_size):
            given = inputs[start : start + batch_size]
            yield {"given": given, "texts": self.pipeline.read_text(given)}

    def forward(self, inputs: dict, topk: int = 5, **kwargs: Any) -> list[MultimodalSample]:
        """Rank the media for a batch of texts."""
        texts = self.ranker.texts(inputs["texts"])
        scores = self.ranker.rank_media(self.gallery, texts)
        samples = [MultimodalSample(metainfo={"text": text}) for text in inputs["given"]]
        similar = texts.features @ self.gallery.media_features.t()
        return self._matched(samples, scores, similar, topk)

    def _place(self, row: int) -> int:
        return self.gallery.media[row].position

    def _known(self, row: int) -> dict[str, Any]:
        medium = self.gallery.media[row]
        return {
            "video_id": medium.name,
            "media_path": medium.path,
            "media_id": medium.media_id,
        }

    def entry(self, given: Any, sample: MultimodalSample) -> Entry:
        """The text, and the frames of what was found for it."""
        panels = [
            frames_panel(
                self._media.frames(match["sample_idx"]),
                f"{match['sample']['video_id']}  {match['match_score']:.3f}",
            )
            for match in sample.matches
        ]
        return Entry(str(given), panels=panels, stacked=True)


class TextToVideoRetrievalInferencer(_TextToMedia):
    """Finds videos by texts.

    See :class:`RetrievalInferencer` for the arguments. The prototype is a folder, whose videos and
    folders of frames are found below it too; a list of videos as :mod:`uniadapter.apis.inputs`
    reads them; a data set, its config or a DataLoader. A ``sample`` of the result has
    ``video_id``, ``media_path`` and ``media_id``.
    """

    pictures = False


class TextToImageRetrievalInferencer(_TextToMedia):
    """Finds pictures by texts.

    See :class:`RetrievalInferencer` for the arguments, and
    :class:`TextToVideoRetrievalInferencer` for the prototype, of pictures here.
    """

    pictures = True


class _MediaToText(RetrievalInferencer):
    """Finds texts by media."""

    pictures: ClassVar[bool]
    gallery: TextGallery

    @property
    def of_pictures(self) -> bool:
        """See the base class."""
        return self.pictures

    def _encode(self, cache: PrototypeCache | None) -> None:
        self._texts = found = open_texts(self.prototype, self.pipeline)
        texts = self._open(found.cleaned, cache)
        self.gallery = TextGallery(self.ranker, texts)
        self._features = texts.features

    def _open(self, cleaned: list[str], cache: PrototypeCache | None) -> Texts:
        """The texts, encoded or from their file."""
        if cache is None:
            return self._read(cleaned)
        # Of texts alone, what is read of media plays no part.
        binding = self._binding([], cleaned)
        known = cache.load_texts(binding)
        if known is not None:
            return known
        texts = self._read(cleaned)
        cache.save_texts(texts, binding)
        return texts

    def _read(self, texts: list[str]) -> Texts:
        return self.ranker.texts(texts)

    def item(self, medium: Any, index: int, **facts: Any) -> dict[str, Any]:
        """See the base class; a query has no captions."""
        return super().item(medium, index, texts=[], **facts)

    def forward(self, inputs: dict, topk: int = 5, **kwargs: Any) -> list[MultimodalSample]:
        """Rank the texts for a batch of media."""
        media = self.ranker.media([inputs])
        scores = self.gallery.rank(media)
        similar = media.media_features @ self._features.t()
        return self._matched(list(inputs["data_samples"]), scores, similar, topk)

    def _place(self, row: int) -> int:
        return row

    def _known(self, row: int) -> dict[str, Any]:
        return {"text": self._texts.texts[row], **self._texts.facts[row]}

    def entry(self, given: Any, sample: MultimodalSample) -> Entry:
        """The medium, and the texts that were found for it."""
        lines = [
            f"{match['match_score']:.3f}  {match['sample']['text']}" for match in sample.matches
        ]
        return Entry(str(sample.video_id), lines, [self.panel(given)])


class VideoToTextRetrievalInferencer(_MediaToText):
    """Finds texts by videos.

    See :class:`RetrievalInferencer` for the arguments. The prototype is a list of texts, a text
    file of one a line, or a retrieval data set, its config or a DataLoader, whose captions are
    taken without a look at its media. A ``sample`` of the result has ``text``, and of a data set
    ``video_id`` and ``media_path``.
    """

    pictures = False


class ImageToTextRetrievalInferencer(_MediaToText):
    """Finds texts by pictures; see :class:`VideoToTextRetrievalInferencer`."""

    pictures = True
