"""Rankings for queries from outside of a test split, scored as the test loop scores."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from mmengine.dist import get_world_size
from torch import Tensor

from uniadapter.evaluation.functional import Distinct, PairTable, score_blocks, similarity_rows

from .gallery import Gallery, GalleryEncoder
from .options import DTYPES, RetrievalOptions
from .scoring import GalleryScorer
from .shortlist import RowsOf, reranked_media, reranked_texts, score_pairs
from .texts import Texts
from .token_store import DiskTokens


def autocast_of(model: Any, amp_dtype: str | None) -> AbstractContextManager:
    """The context that a model runs in, by the option of :class:`RetrievalOptions`."""
    if amp_dtype is None:
        # Frozen weights stored in half precision bring their own.
        own = getattr(model, "frozen_autocast", nullcontext)
        return own()
    return torch.autocast(next(model.parameters()).device.type, DTYPES[amp_dtype])


@dataclass(frozen=True)
class Ranker:
    """Encodes media and texts and ranks the ones for the others, in a single process.

    A query's scores are those that the test loop gives it: what stands on its shortlist has the
    matching logit plus ``itc_weight`` times the cosine, everything else -100; without re-ranking
    (``k_test=0``) all have the cosine. A shortlist is no longer than the gallery.

    Args:
        model: A retrieval model in evaluation mode.
        options: How to rank; ``folds`` and ``log_seconds`` play no part.

    Raises:
        ValueError: If an option is outside its set, or there are several processes.
    """

    model: Any
    options: RetrievalOptions

    def __post_init__(self) -> None:
        self.options.check_values("options", getattr(self.model, "matches", True))
        if get_world_size() > 1:
            raise ValueError(
                "Queries are ranked in one process; tools/test.py ranks a split in several."
            )

    def autocast(self) -> AbstractContextManager:
        """The context that the model runs in."""
        return autocast_of(self.model, self.options.amp_dtype)

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Texts:
        """Encode texts, at least one, which were cleaned already."""
        device = next(self.model.parameters()).device
        ids, mask = (t.to(device) for t in self.model.data_preprocessor.tokenize(texts))
        with self.autocast():
            return Texts.encode(self.model, ids, mask, self.options.text_batch)

    @torch.no_grad()
    def media(
        self, batches: Iterable[dict[str, Any]], tokens: list[Tensor] | DiskTokens | None = None
    ) -> Gallery:
        """Encode media, without captions.

        Args:
            batches: As a data loader gives them: ``inputs`` and ``data_samples``.
            tokens: Where visual tokens are kept. None: in memory.

        Raises:
            ValueError: If there are none, none could be read or two have one ``media_id``.
        """
        options, kept = self.options, [] if tokens is None else tokens
        encoder = GalleryEncoder(
            self.model,
            DTYPES[options.gallery_dtype],
            options.text_batch,
            options.shortlisted > 0,
            kept,
            captioned=False,
        )
        for batch in batches:
            with self.autocast():
                encoder.add(batch)
        return encoder.finish(len(encoder.samples))

    @torch.no_grad()
    def rank_media(self, gallery: Gallery, texts: Texts) -> Tensor:
        """Scores (T, V) of T texts with the V media of a gallery."""
        distinct, of_texts, of_media = gallery.against(texts).distinct()
        length = self.options.shortlisted
        if length:
            scorer = GalleryScorer(self.model, distinct, self.autocast, self.options.text_batch)
            rows_of = reranked_media(distinct, length, self._scores(scorer))
        else:
            rows_of = partial(similarity_rows, distinct.text_features, distinct.media_features)
        return _dealt(rows_of, of_texts, of_media)

    def _scores(self, scorer: GalleryScorer) -> partial[PairTable]:
        weight = self.options.itc_weight
        return partial(score_pairs, scorer, itc_weight=weight, log_seconds=math.inf)


class TextGallery:
    """Texts that are ranked for one medium after another.

    Of equal texts one is scored, and what of them no medium is needed for is computed once.

    Args:
        ranker: What ranks.
        texts: At least one text.
    """

    def __init__(self, ranker: Ranker, texts: Texts) -> None:
        self.ranker = ranker
        self.of_texts = texts.distinct()
        self.texts = texts.select(self.of_texts.first)
        self._scorer: GalleryScorer | None = None

    @torch.no_grad()
    def rank(self, media: Gallery) -> Tensor:
        """Scores (V, T) of the V media of a gallery with all T texts."""
        options = self.ranker.options
        distinct, _, of_media = media.against(self.texts).distinct()
        if options.shortlisted:
            if self._scorer is None:
                self._scorer = GalleryScorer(
                    self.ranker.model, distinct, self.ranker.autocast, options.text_batch
                )
            scores = self.ranker._scores(self._scorer.facing(distinct))
            rows_of = reranked_texts(distinct, options.shortlisted, scores)
        else:
            features = distinct.media_features, distinct.text_features
            rows_of = partial(similarity_rows, *features, turned=True)
        return _dealt(rows_of, of_media, self.of_texts)


def _dealt(rows_of: RowsOf, queries: Distinct, candidates: Distinct) -> Tensor:
    """Scores of all queries with all candidates, copies and all."""
    blocks = score_blocks(rows_of, queries.kind, candidates.kind)
    return torch.cat([scores for _, scores in blocks])
