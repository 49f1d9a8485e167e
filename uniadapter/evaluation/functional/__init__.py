"""Pure functions that measure results."""

from .ranking import (
    median_rank,
    rank_of_best_positive,
    ranks_of_best_positives,
    recall_at_k,
    retrieval_measures,
)

__all__ = [
    "median_rank",
    "rank_of_best_positive",
    "ranks_of_best_positives",
    "recall_at_k",
    "retrieval_measures",
]
