"""Pure functions that measure results."""

from .ranking import (
    median_rank,
    rank_of_best_positive,
    ranks_of_best_positives,
    recall_at_k,
    retrieval_measures,
)
from .reranking import PairTable, reranked_blocks, shortlist, similarity_blocks, texts_by_medium

__all__ = [
    "PairTable",
    "median_rank",
    "rank_of_best_positive",
    "ranks_of_best_positives",
    "recall_at_k",
    "reranked_blocks",
    "retrieval_measures",
    "shortlist",
    "similarity_blocks",
    "texts_by_medium",
]
