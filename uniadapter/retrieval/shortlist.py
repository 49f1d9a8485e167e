"""Shortlists of both directions, and the scores that their pairs get by image-text matching."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from mmengine.dist import broadcast
from torch import Tensor

from uniadapter.evaluation.functional import (
    PairTable,
    reranked_rows,
    shortlist,
    texts_by_medium,
)
from uniadapter.utils.dist import gather_ragged

from .gallery import Gallery
from .progress import Progress
from .scoring import GalleryScorer

RowsOf = Callable[[Tensor], Tensor]
"""Scores (R, G) of R queries, by their indices (R,), with a gallery of G candidates."""


def reranked(
    gallery: Gallery, length: int, score: Callable[[Tensor, Tensor], PairTable]
) -> tuple[RowsOf, RowsOf]:
    """Scores of both directions, their shortlists scored by image-text matching; a collective.

    Args:
        gallery: A gallery without copies.
        length: Of the shortlists.
        score: Scores pairs, from the shortlists of texts and those of media.

    Returns:
        Rows of texts to media, and of media to texts.
    """
    texts, media = gallery.text_features, gallery.media_features
    # Copies and skipped media may have left fewer candidates than the split has.
    of_texts, text_lengths = shortlist(texts, media, min(length, len(media)))
    of_media, media_lengths = shortlist(media, texts, min(length, len(texts)), turned=True)
    # All ranks must agree on the shortlists, whatever their hardware makes of near ties.
    for tensor in (of_texts, text_lengths, of_media, media_lengths):
        broadcast(tensor)
    pairs = score(of_texts, of_media)
    t2v = pairs.lookup(torch.arange(len(texts))[:, None], of_texts)
    v2t = pairs.lookup(of_media, torch.arange(len(media))[:, None])
    return (
        partial(reranked_rows, of_texts, text_lengths, t2v, len(media)),
        partial(reranked_rows, of_media, media_lengths, v2t, len(texts)),
    )


def reranked_media(
    gallery: Gallery, length: int, score: Callable[[Tensor, Tensor], PairTable]
) -> RowsOf:
    """Scores of texts with media as :func:`reranked` has them, without the other direction's pairs.

    Args:
        gallery: A gallery without copies, of one process.
        length: Of the shortlists; no longer than there are media.
        score: As for :func:`reranked`.

    Returns:
        Rows of texts to media.
    """
    texts, media = gallery.text_features, gallery.media_features
    chosen, lengths = shortlist(texts, media, min(length, len(media)))
    pairs = score(chosen, chosen.new_empty(len(media), 0))
    scores = pairs.lookup(torch.arange(len(texts))[:, None], chosen)
    return partial(reranked_rows, chosen, lengths, scores, len(media))


def reranked_texts(
    gallery: Gallery, length: int, score: Callable[[Tensor, Tensor], PairTable]
) -> RowsOf:
    """As :func:`reranked_media`: rows of media to texts."""
    texts, media = gallery.text_features, gallery.media_features
    chosen, lengths = shortlist(media, texts, min(length, len(texts)), turned=True)
    pairs = score(chosen.new_empty(len(texts), 0), chosen)
    scores = pairs.lookup(chosen, torch.arange(len(media))[:, None])
    return partial(reranked_rows, chosen, lengths, scores, len(texts))


def score_pairs(
    scorer: GalleryScorer,
    of_texts: Tensor,
    of_media: Tensor,
    itc_weight: float,
    log_seconds: float,
) -> PairTable:
    """Score all shortlisted pairs, each once, where the medium's tokens are; a collective.

    Args:
        scorer: Of this rank's media.
        of_texts: Media on the shortlists of the texts, (T, k).
        of_media: Texts on the shortlists of the media, (V, k).
        itc_weight: Weight of the cosine in a score.
        log_seconds: Seconds between two lines of progress.
    """
    gallery = scorer.gallery
    listing = texts_by_medium(of_texts, len(gallery.media))
    progress = Progress("Re-ranking", len(gallery.own_media), log_seconds)
    texts, media, scores = [], [], []
    for row, medium in enumerate(gallery.own_media.tolist()):
        chosen = torch.cat([listing[medium], of_media[medium]]).unique()
        if not len(chosen):
            continue
        texts.append(chosen)
        media.append(torch.full_like(chosen, medium))
        similar = gallery.text_features[chosen] @ gallery.media_features[medium]
        scores.append(scorer.score(row, chosen) + itc_weight * similar)
        progress.update(row + 1)
    # On a rank without media the empty parts take the others' dtype.
    columns = [torch.cat(part) if part else torch.empty(0) for part in (texts, media, scores)]
    columns = [gather_ragged(column, interleave=False) for column in columns]
    return PairTable(columns[0], columns[1], columns[2], len(gallery.media))
