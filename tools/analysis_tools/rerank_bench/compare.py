"""How far scores agree: largest error, shortlists that differ, order."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

OUTSIDE = -100.0


def score_errors(naive: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> dict[str, Any]:
    """Compare the scores of one direction or two.

    Args:
        naive (tuple[Tensor]): Scores of the naive way, of any shape; -100 is off the shortlist.
        ours (tuple[Tensor]): Scores of the same shapes.

    Returns:
        dict: ``max_error``, the largest absolute difference of pairs that both ways scored;
        ``only_one_scored``, the number of pairs on the shortlist of one way alone (near-ties of the
        similarity at its end); ``score_std``, the spread of the naive way's scores.
    """
    left, right = (torch.cat([t.flatten().float() for t in side]) for side in (naive, ours))
    listed, other = left != OUTSIDE, right != OUTSIDE
    both = listed & other
    return {
        "max_error": float((left[both] - right[both]).abs().max()),
        "only_one_scored": int((listed != other).sum()),
        "score_std": float(left[listed].std()),
    }


def order_errors(naive: Tensor, ours: Tensor) -> dict[str, Any]:
    """Compare the order of scores (T,).

    Returns:
        dict: ``pairs``, the number of pairs of texts; ``swapped``, how many stand in the other
        order; ``swapped_gap``, the largest difference of the naive way's scores among them, 0 if
        there are none; ``best_equal``, whether the best text is the same.
    """
    left, right = naive[:, None] - naive[None], ours[:, None] - ours[None]
    swapped = (left * right < 0).triu(1)
    return {
        "pairs": len(naive) * (len(naive) - 1) // 2,
        "swapped": int(swapped.sum()),
        "swapped_gap": float(left[swapped].abs().max()) if swapped.any() else 0.0,
        "best_equal": bool(naive.argmax() == ours.argmax()),
    }
