"""Shortlists by similarity, and score rows of shortlists scored anew."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

OUTSIDE_SHORTLIST = -100.0
_BLOCK = 1024


def similarity_blocks(queries: Tensor, gallery: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Cosine similarities in blocks of queries, as the whole matrix may not fit.

    Args:
        queries: (Q, E), normalised.
        gallery: (G, E), normalised.

    Yields:
        The rows of the block and their similarities (rows, G).
    """
    for start in range(0, len(queries), _BLOCK):
        rows = slice(start, min(start + _BLOCK, len(queries)))
        yield rows, queries[rows] @ gallery.t()


def shortlist(queries: Tensor, gallery: Tensor, k: int) -> Tensor:
    """The k most similar candidates of every query.

    Args:
        queries: (Q, E), normalised.
        gallery: (G, E), normalised.
        k: At most G.

    Returns:
        Long tensor (Q, k) of gallery indices, the most similar first.
    """
    blocks = [sims.topk(k, dim=1).indices for _, sims in similarity_blocks(queries, gallery)]
    return torch.cat(blocks)


def texts_by_medium(of_texts: Tensor, num_media: int) -> tuple[Tensor, ...]:
    """Turn the texts' shortlists round.

    Args:
        of_texts: (T, k) media on the shortlist of every text.
        num_media: Size of the media gallery.

    Returns:
        For each medium the texts that have it on their shortlist, in order.
    """
    flat = of_texts.flatten()
    texts = flat.argsort(stable=True) // of_texts.shape[1]
    return texts.split(flat.bincount(minlength=num_media).tolist())


def reranked_blocks(
    candidates: Tensor, scores: Tensor, gallery: int
) -> Iterator[tuple[slice, Tensor]]:
    """Rows of scores over the whole gallery, -100 for what is not on the shortlist.

    Args:
        candidates: (Q, k) gallery indices of the shortlists.
        scores: (Q, k), the scores of those pairs.
        gallery: Number of candidates in the gallery.

    Yields:
        The rows of the block and their scores (rows, gallery).
    """
    for start in range(0, len(candidates), _BLOCK):
        rows = slice(start, min(start + _BLOCK, len(candidates)))
        block = torch.full((len(candidates[rows]), gallery), OUTSIDE_SHORTLIST)
        yield rows, block.scatter_(1, candidates[rows], scores[rows])


class PairTable:
    """Scores of text-media pairs, looked up by pair.

    Args:
        texts: (P,) text index of every pair.
        media: (P,) media index of every pair.
        scores: (P,).
        num_media: Size of the media gallery.
    """

    def __init__(self, texts: Tensor, media: Tensor, scores: Tensor, num_media: int) -> None:
        self.num_media = num_media
        self.keys, order = (texts * num_media + media).sort()
        self.scores = scores[order]

    def __len__(self) -> int:
        return len(self.keys)

    def lookup(self, texts: Tensor, media: Tensor) -> Tensor:
        """Scores of the given pairs.

        Args:
            texts: Text indices, of any shape.
            media: Media indices, of a shape that broadcasts with ``texts``.

        Returns:
            Scores of the broadcast shape.

        Raises:
            KeyError: If a pair was not scored.
        """
        keys = texts * self.num_media + media
        at = torch.searchsorted(self.keys, keys).clamp(max=len(self.keys) - 1)
        missing = int((self.keys[at] != keys).sum())
        if missing:
            raise KeyError(f"{missing} of {keys.numel()} pairs were not scored")
        return self.scores[at]
