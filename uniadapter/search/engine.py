"""What encodes media and texts and scores the ones for the others, whatever runs the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from uniadapter.apis.encoding import Preprocess, check_one_adapter
from uniadapter.apis.inferencers.cache import binding_of
from uniadapter.apis.inferencers.retrieval import ranking_of
from uniadapter.apis.inputs import InputReader
from uniadapter.models.necks import FrameAwareAttention
from uniadapter.models.tasks import RetrievalModel
from uniadapter.retrieval import Gallery, GalleryScorer, RetrievalOptions, Texts, autocast_of
from uniadapter.retrieval.texts import kept

from .hits import Kind
from .reading import query_frames

#: Divides the cosines that frames are weighted by where a model has no weights of its own; that of
#: the released frame attention.
TEMPERATURE = 4.0


@dataclass(frozen=True)
class EncodedMedia:
    """B shots or pictures of N frames, of M tokens a frame; all on the CPU.

    Attributes:
        features: (B, E) float32, normalised.
        tokens: (B, N, M, D) float16; None where nothing is re-ranked.
        frame_cls: (B, N, D) float32, states of the frames' first tokens.
        frame_features: (B, N, E) float32, normalised.
    """

    features: Tensor
    tokens: Tensor | None
    frame_cls: Tensor
    frame_features: Tensor

    def __len__(self) -> int:
        return len(self.features)


class SearchEngine(Protocol):
    """What an index is made and searched with.

    Attributes:
        binding: Digests of all that features depend on, by name: an index that was made with
            another value of one is refused.
        reader: Prepares media and cleans texts, without the model.
        feature_size: E.
        token_shape: (N, M, D) of a medium's tokens.
        frames: N, the most frames of a medium.
        reranks: Whether tokens are kept and :meth:`score` matches.
    """

    @property
    def binding(self) -> dict[str, str]: ...  # noqa: D102
    @property
    def reader(self) -> InputReader: ...  # noqa: D102
    @property
    def feature_size(self) -> int: ...  # noqa: D102
    @property
    def token_shape(self) -> tuple[int, int, int]: ...  # noqa: D102
    @property
    def frames(self) -> int: ...  # noqa: D102
    @property
    def reranks(self) -> bool: ...  # noqa: D102

    def read(self, media: Sequence[Any], kind: Kind) -> Any:
        """Prepare media, see :mod:`uniadapter.apis.inputs`; what :meth:`encode_media` takes."""
        ...

    def batch(self, frames: Sequence[Tensor]) -> Any:
        """As :meth:`read`, of B media that ``reader`` prepared: each (N, 3, H, W) uint8."""
        ...

    def encode_media(self, batch: Any) -> EncodedMedia:
        """Encode what :meth:`read` or :meth:`batch` gave."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Texts:
        """Clean and encode texts, at least one.

        Raises:
            ValueError: If one is blank.
        """
        ...

    def score(self, media: EncodedMedia, texts: Texts) -> Tensor:
        """Scores (B, T) of the test loop, float32; without re-ranking they are cosines."""
        ...

    def frame_weights(self, media: EncodedMedia, texts: Texts) -> Tensor:
        """Weight of each frame for each text, (B, T, N) float32; over the frames they sum to 1."""
        ...


class TorchEngine:
    """A retrieval model of the project as an engine.

    Scores are those of :class:`~uniadapter.apis.TextToVideoRetrievalInferencer` but for the
    tokens, which are rounded to half precision.

    Args:
        model: A model of :func:`uniadapter.apis.get_model` or :func:`uniadapter.apis.init_model`.
        options: How it ranks; ``k_test=0`` re-ranks nothing. None: as its config's test. The tokens
            are float16 whatever ``gallery_dtype`` says.

    Raises:
        ValueError: If it is no retrieval model, or an option is wrong.
    """

    def __init__(self, model: nn.Module, options: RetrievalOptions | None = None) -> None:
        if not isinstance(model, RetrievalModel):
            raise ValueError(
                f"A {type(model).__name__} can't be searched with: take a retrieval model, such as "
                "`uniadapter list --task Retrieval` names."
            )
        check_one_adapter(model)
        self.model: Any = model.eval()
        given = ranking_of(model, {}) if options is None else options
        self.options = replace(given, gallery_dtype="float16")
        self.options.check_values("options", model.matches)
        self._preprocess = Preprocess(model)

    @property
    def reader(self) -> InputReader:
        """See :class:`SearchEngine`, as are the others."""
        return self._preprocess.reader

    @property
    def reranks(self) -> bool:  # noqa: D102
        return self.options.shortlisted > 0

    @property
    def frames(self) -> int:  # noqa: D102
        return self.reader.max_frames

    @cached_property
    def binding(self) -> dict[str, str]:  # noqa: D102
        # How long the shortlists are changes nothing that is kept.
        options = replace(self.options, k_test=int(self.reranks))
        transforms = [repr(step) for step in self.reader.transforms]
        found = binding_of(self.model, options, transforms, None)
        return {name: digest for name, digest in found.items() if name != "items"}

    @property
    def feature_size(self) -> int:  # noqa: D102
        return int(self.model.embed_dim)

    @cached_property
    def token_shape(self) -> tuple[int, int, int]:  # noqa: D102
        # Towers differ in how many tokens they make of a frame: one is tried.
        blank = self.reader.image_frames(np.zeros((64, 64, 3), np.uint8))
        with torch.no_grad(), self._autocast():
            tokens = self.model.encode_visual(**self.batch([blank]))[0]
        return self.frames, int(tokens.shape[2]), int(tokens.shape[3])

    def read(self, media: Sequence[Any], kind: Kind) -> Any:  # noqa: D102
        return self.batch([query_frames(self.reader, medium, kind) for medium in media])

    def batch(self, frames: Sequence[Tensor]) -> Any:  # noqa: D102
        return self._preprocess.batch(frames)

    @torch.no_grad()
    def encode_media(self, batch: Mapping[str, Tensor]) -> EncodedMedia:  # noqa: D102
        only = not self.reranks
        with self._autocast():
            tokens, features, frames = self.model.encode_visual(class_only=only, **batch)
        rounded = None if only else tokens.to("cpu", torch.float16)
        known = (kept(t).float() for t in (features, tokens[:, :, 0], frames))
        feature, frame_cls, frame_features = known
        return EncodedMedia(feature, rounded, frame_cls, frame_features)

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Texts:  # noqa: D102
        device = next(self.model.parameters()).device
        words = self.model.data_preprocessor.tokenize(self.reader.read_text(list(texts)))
        ids, mask = (t.to(device) for t in words)
        with self._autocast():
            return Texts.encode(self.model, ids, mask, self.options.text_batch)

    @torch.no_grad()
    def score(self, media: EncodedMedia, texts: Texts) -> Tensor:  # noqa: D102
        similar = media.features @ texts.features.t()
        if not self.reranks:
            return similar
        gallery = _gallery_of(media, texts)
        scorer = GalleryScorer(self.model, gallery, self._autocast, self.options.text_batch)
        every = torch.arange(len(texts))
        logits = torch.stack([scorer.score(row, every) for row in range(len(media))])
        return logits + self.options.itc_weight * similar

    @torch.no_grad()
    def frame_weights(self, media: EncodedMedia, texts: Texts) -> Tensor:  # noqa: D102
        pfa = self.model.pfa
        # Where no tokens are kept there may be no class tokens, which the paper's variant compares.
        lacking = not media.frame_cls.shape[-1]
        if not isinstance(pfa, FrameAwareAttention) or (lacking and pfa.weigh_states):
            return cosine_weights(media.frame_features, texts.features)
        known = (media.frame_cls, media.frame_features, texts.cls, texts.features)
        sims = self.model.frame_sims(*known)
        weights = pfa.weights(sims.flatten(0, 1)).view_as(sims).movedim(0, 1)
        return weights / weights.sum(-1, keepdim=True)

    def _autocast(self) -> AbstractContextManager:
        return autocast_of(self.model, self.options.amp_dtype)


def cosine_weights(frame_features: Tensor, queries: Tensor) -> Tensor:
    """Weights of frames by what they have in common with queries.

    Args:
        frame_features: (B, N, E), normalised.
        queries: (T, E), normalised.

    Returns:
        (B, T, N); over the frames they sum to 1.
    """
    cosines = torch.einsum("bne,te->btn", frame_features, queries)
    return torch.softmax(cosines / TEMPERATURE, dim=-1)


def _gallery_of(media: EncodedMedia, texts: Texts) -> Gallery:
    """Media and texts as what scores them takes them."""
    if media.tokens is None:
        raise ValueError("These media have no tokens, which re-ranking needs.")
    count = len(media)
    return Gallery(
        media=[],
        skipped=[],
        text_media=torch.full((len(texts),), -1),
        media_features=media.features,
        text_features=texts.features,
        text_cls=texts.cls,
        input_ids=texts.input_ids,
        attention_mask=texts.attention_mask,
        own_media=torch.arange(count),
        own_tokens=list(media.tokens),
        own_frame_cls=media.frame_cls,
        own_frame_features=media.frame_features,
    )
