"""Shortlists by similarity, and score rows of shortlists scored anew.

Equal texts, or equal media, have to tie exactly, or rounding decides which of them is right. So
each is scored once for all its copies (:class:`Distinct`), and a similarity is one number for both
directions.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

OUTSIDE_SHORTLIST = -100.0
_BLOCK = 1024


@dataclass(frozen=True)
class Distinct:
    """Which of N items are equal.

    Attributes:
        first (Tensor): (U,) long, the first item of each kind, in order.
        kind (Tensor): (N,) long, the kind of every item.
    """

    first: Tensor
    kind: Tensor

    @classmethod
    def of(cls, labels: Iterable[Hashable]) -> Distinct:
        """Sort N items into kinds by their labels, alike for equal items only."""
        kinds: dict[Hashable, int] = {}
        first, kind = [], []
        for index, label in enumerate(labels):
            if label not in kinds:
                kinds[label] = len(kinds)
                first.append(index)
            kind.append(kinds[label])
        return cls(torch.tensor(first, dtype=torch.long), torch.tensor(kind, dtype=torch.long))


def _similarities(queries: Tensor, gallery: Tensor, rows: slice, turned: bool) -> Tensor:
    """Similarities (rows, G), put together from products of one block with another.

    The transpose of a product may differ from the product of transposes in the last bit. With
    ``turned`` the queries are the second factor, so a pair's similarity is the same number in both
    directions.
    """
    block, parts = queries[rows], []
    for start in range(0, len(gallery), _BLOCK):
        other = gallery[start : start + _BLOCK]
        parts.append((other @ block.t()).t() if turned else block @ other.t())
    return torch.cat(parts, dim=1)


def similarity_blocks(
    queries: Tensor, gallery: Tensor, turned: bool = False
) -> Iterator[tuple[slice, Tensor]]:
    """Cosine similarities in blocks of queries, as the whole matrix may not fit.

    Args:
        queries: (Q, E), normalised.
        gallery: (G, E), normalised.
        turned: Give the very numbers that the gallery's items have as queries; set in one of two
            directions. Defaults to False.

    Yields:
        The rows of the block and their similarities (rows, G).
    """
    for start in range(0, len(queries), _BLOCK):
        rows = slice(start, min(start + _BLOCK, len(queries)))
        yield rows, _similarities(queries, gallery, rows, turned)


def similarity_rows(queries: Tensor, gallery: Tensor, rows: Tensor, turned: bool = False) -> Tensor:
    """As :func:`similarity_blocks`, the same numbers, of chosen queries.

    Args:
        queries: (Q, E), normalised.
        gallery: (G, E), normalised.
        rows: (R,) long, indices of queries.
        turned: As for :func:`similarity_blocks`.

    Returns:
        Similarities (R, G).
    """
    out = queries.new_empty(len(rows), len(gallery))
    blocks = rows // _BLOCK
    for block in blocks.unique().tolist():
        whole = slice(block * _BLOCK, (block + 1) * _BLOCK)
        here = blocks == block
        out[here] = _similarities(queries, gallery, whole, turned)[rows[here] - whole.start]
    return out


def shortlist(
    queries: Tensor, gallery: Tensor, k: int, turned: bool = False
) -> tuple[Tensor, Tensor]:
    """The k most similar candidates of every query.

    Candidates that tie across the end of the list are off it, all of them: which of them come
    before the end would be decided by their order.

    Args:
        queries: (Q, E), normalised.
        gallery: (G, E), normalised.
        k: At most G.
        turned: As for :func:`similarity_blocks`.

    Returns:
        Long tensor (Q, k) of gallery indices, the most similar first, and lengths (Q,): how many of
        them are on the list.
    """
    chosen, lengths = [], []
    for _, sims in similarity_blocks(queries, gallery, turned):
        values, indices = sims.topk(min(k + 1, len(gallery)), dim=1)
        chosen.append(indices[:, :k])
        # Nothing ties with NaN, which the metric is to see and refuse.
        tied = (values[:, :k] <= values[:, k:]).sum(dim=1) if k < len(gallery) else 0
        lengths.append(torch.full((len(sims),), k) - tied)
    return torch.cat(chosen), torch.cat(lengths)


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


def reranked_rows(
    candidates: Tensor, lengths: Tensor, scores: Tensor, gallery: int, rows: Tensor
) -> Tensor:
    """Scores over the whole gallery, -100 for what is not on the shortlist.

    Args:
        candidates: (Q, k) gallery indices of the shortlists.
        lengths: (Q,), how many of them are on the list.
        scores: (Q, k), the scores of those pairs.
        gallery: Number of candidates in the gallery.
        rows: (R,) long, indices of queries.

    Returns:
        Scores (R, gallery).
    """
    behind = torch.arange(candidates.shape[1]) >= lengths[rows, None]
    listed = scores[rows].masked_fill(behind, OUTSIDE_SHORTLIST)
    full = scores.new_full((len(rows), gallery), OUTSIDE_SHORTLIST)
    return full.scatter_(1, candidates[rows], listed)


def score_blocks(
    rows_of: Callable[[Tensor], Tensor], queries: Tensor, candidates: Tensor
) -> Iterator[tuple[slice, Tensor]]:
    """Deal the scores of distinct queries and candidates to all their copies, in blocks of queries.

    Args:
        rows_of: Scores (R, D) of R distinct queries, by index, with all D distinct candidates.
        queries: (Q,) long, which distinct one every query is.
        candidates: (G,) long, which distinct one every candidate is.

    Yields:
        The rows of the block and their scores (rows, G).
    """
    for start in range(0, len(queries), _BLOCK):
        rows = slice(start, min(start + _BLOCK, len(queries)))
        yield rows, rows_of(queries[rows])[:, candidates]


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
