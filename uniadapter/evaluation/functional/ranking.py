"""Ranks of the right candidates, and the retrieval measures computed from them.

Throughout, a query is scored against G candidates, higher is better, and one or more of the
candidates are positives (the captions of a video, for example). Its rank is the place, counted from
1, of its best positive. Ties are pessimistic: a wrong candidate with the score of the best positive
counts as ahead of it, so a model that gives every pair the same score gets no credit. Other
positives are never in the way of the best one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

RECALL_LEVELS = (1, 5, 10)


def rank_of_best_positive(scores: Tensor, positives: Sequence[int]) -> int:
    """Rank of the best positive of one query.

    Args:
        scores: (G,), the query's score with every candidate.
        positives: Indices of the right candidates, at least one.

    Returns:
        The rank, from 1 (no wrong candidate is as good) to G - P + 1 for P distinct positives.

    Raises:
        ValueError: If a score is NaN, there is no positive or an index lies outside the gallery.
    """
    return int(ranks_of_best_positives(scores[None], [positives])[0])


def ranks_of_best_positives(scores: Tensor, positives: Sequence[Sequence[int]]) -> Tensor:
    """Ranks of the best positives of several queries.

    Args:
        scores: (Q, G), the score of every query with every candidate.
        positives: For each query the indices of its right candidates, at least one.

    Returns:
        Long tensor (Q,) of ranks counted from 1.

    Raises:
        ValueError: If a score is NaN, a query has no positive, an index lies outside the gallery
            or the two arguments differ in their number of queries.
    """
    if scores.dim() != 2 or len(positives) != len(scores):
        raise ValueError(
            f"scores of shape {tuple(scores.shape)} don't fit the positives of "
            f"{len(positives)} queries; expected (queries, candidates)"
        )
    bad = torch.isnan(scores).any(dim=1)
    if bad.any():
        raise ValueError(
            f"{int(bad.sum())} of {len(scores)} queries have NaN scores (first: query "
            f"{int(bad.nonzero()[0])}); a ranking of NaN means nothing, look for a diverged or "
            "wrongly loaded checkpoint"
        )
    is_positive = _positive_mask(positives, scores.shape[1]).to(scores.device)
    best = scores.masked_fill(~is_positive, -torch.inf).amax(dim=1, keepdim=True)
    return ((scores >= best) & ~is_positive).sum(dim=1) + 1


def recall_at_k(ranks: Tensor, k: int) -> float:
    """Share of the queries whose rank is at most k, in percent.

    A gallery of at most k candidates is fully inside the first k places, so its recall is 100
    whatever the scores are; such a number says nothing about the model.

    Args:
        ranks: (Q,), counted from 1.
        k: Number of places looked at.
    """
    _check_ranks(ranks)
    return float((ranks <= k).double().mean() * 100)


def median_rank(ranks: Tensor) -> float:
    """Median of the ranks; the mean of the middle two when their number is even.

    Args:
        ranks: (Q,), counted from 1.
    """
    _check_ranks(ranks)
    return float(ranks.double().quantile(0.5))


def retrieval_measures(ranks: Tensor) -> dict[str, float]:
    """R1, R5 and R10 in percent, MdR in places, RMean = mean of R1, R5 and R10 in percent.

    Args:
        ranks: (Q,), counted from 1.

    Raises:
        ValueError: If there are no ranks.
    """
    measures = {f"R{k}": recall_at_k(ranks, k) for k in RECALL_LEVELS}
    mean = sum(measures.values()) / len(measures)
    return {**measures, "MdR": median_rank(ranks), "RMean": mean}


def _positive_mask(positives: Sequence[Sequence[int]], num_candidates: int) -> Tensor:
    mask = torch.zeros(len(positives), num_candidates, dtype=torch.bool)
    for query, candidates in enumerate(positives):
        if len(candidates) == 0:
            raise ValueError(f"query {query} has no right candidate in the gallery")
        if min(candidates) < 0 or max(candidates) >= num_candidates:
            raise ValueError(
                f"query {query} names the candidates {list(candidates)}, but the gallery has only "
                f"{num_candidates}"
            )
        mask[query, list(candidates)] = True
    return mask


def _check_ranks(ranks: Tensor) -> None:
    if ranks.numel() == 0:
        raise ValueError("no ranks to measure: the test split is empty")
