"""Ranks as CLIP4Clip counts them: by value, or, of several captions a video, by place."""

from __future__ import annotations

import torch
from torch import Tensor

from .ranking import RECALL_LEVELS, recall_at_k


def tied_ranks(scores: Tensor, positives: Tensor) -> Tensor:
    """Places at which a query's own value stands among its sorted scores.

    A query whose own value no other candidate has gives one rank. One that ties with k others gives
    the k + 1 ranks that they take together, so that it counts k + 1 times: CLIP4Clip sorts the
    scores and looks for the value, not for the candidate.

    Args:
        scores: (Q, G), the score of every query with every candidate.
        positives: (Q,) long, the right candidate of each query.

    Returns:
        Long tensor of at least Q ranks counted from 1, those of a query in order.

    Raises:
        ValueError: If a score is NaN, or shapes or candidates do not fit.
    """
    _check(scores, positives)
    own = scores.gather(1, positives[:, None])
    before, alike = (scores > own).sum(1), (scores == own).sum(1)
    return torch.cat(
        [torch.arange(start, start + count) for start, count in zip(before + 1, alike, strict=True)]
        or [before]
    )


def placed_ranks(scores: Tensor, positives: Tensor) -> Tensor:
    """Places of the right candidates among each query's scores, one a query.

    Of candidates that tie the one that comes first in the gallery is ahead: CLIP4Clip sorts twice
    where videos have several captions, and reads one place a caption.

    Args:
        scores: (Q, G), the score of every query with every candidate.
        positives: (Q,) long, the right candidate of each query.

    Returns:
        Long tensor (Q,) of ranks counted from 1.

    Raises:
        ValueError: If a score is NaN, or shapes or candidates do not fit.
    """
    _check(scores, positives)
    own = scores.gather(1, positives[:, None])
    first = torch.arange(scores.shape[1], device=scores.device) < positives[:, None]
    return ((scores > own) | ((scores == own) & first)).sum(1) + 1


def _check(scores: Tensor, positives: Tensor) -> None:
    """Refuse scores that rank nothing, and candidates that are not there."""
    if scores.dim() != 2 or positives.shape != scores.shape[:1]:
        raise ValueError(
            f"scores {tuple(scores.shape)} must be (queries, candidates), and positives "
            f"{tuple(positives.shape)} one candidate a query"
        )
    if bool(torch.isnan(scores).any()):
        raise ValueError(
            "there are NaN scores; a ranking of NaN means nothing, look for a diverged or wrongly "
            "loaded checkpoint"
        )
    if len(scores) and not 0 <= int(positives.min()) <= int(positives.max()) < scores.shape[1]:
        raise ValueError(f"positives name candidates outside the {scores.shape[1]} of the gallery")


def best_of_groups(scores: Tensor, groups: Tensor) -> Tensor:
    """The largest score of each group of candidates, such as the captions of a video.

    Args:
        scores: (Q, G).
        groups: (G,) long, the group of every candidate, numbers from 0 without a gap.

    Returns:
        (Q, groups).

    Raises:
        ValueError: If shapes don't fit, or a group has no candidate.
    """
    if groups.shape != scores.shape[1:]:
        raise ValueError(
            f"groups {tuple(groups.shape)} must name one for each of the {scores.shape[1]} "
            "candidates"
        )
    count = int(groups.max()) + 1 if len(groups) else 0
    if len(groups.unique()) != count or (count and int(groups.min()) < 0):
        raise ValueError("groups must be numbered from 0, with a candidate in each")
    best = scores.new_full((len(scores), count), -torch.inf)
    return best.scatter_reduce(1, groups.expand(len(scores), -1), scores, "amax")


def video_text_measures(ranks: Tensor) -> dict[str, float]:
    """R1, R5 and R10 in percent, MdR and MnR, the median and mean of the ranks, in places.

    Args:
        ranks: (Q,), counted from 1.

    Raises:
        ValueError: If there are no ranks.
    """
    measures = {f"R{k}": recall_at_k(ranks, k) for k in RECALL_LEVELS}
    values = ranks.double()
    return {**measures, "MdR": float(values.quantile(0.5)), "MnR": float(values.mean())}
