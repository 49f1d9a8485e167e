"""Pure functions that measure results."""

from .caption_scores import score_captions
from .ptb_tokenizer import tokenize_caption, tokenize_captions
from .ranking import (
    median_rank,
    rank_of_best_positive,
    ranks_of_best_positives,
    recall_at_k,
    retrieval_measures,
)
from .reranking import (
    OUTSIDE_SHORTLIST,
    Distinct,
    PairTable,
    reranked_rows,
    score_blocks,
    shortlist,
    similarity_blocks,
    similarity_rows,
    texts_by_medium,
)
from .tied_ranks import best_of_groups, placed_ranks, tied_ranks, video_text_measures
from .vqa_accuracy import (
    consensus_accuracy,
    exact_match,
    mean_by_group,
    older_consensus_accuracy,
    video_question_type,
)
from .vqa_text import normalise_answer

__all__ = [
    "OUTSIDE_SHORTLIST",
    "Distinct",
    "PairTable",
    "best_of_groups",
    "placed_ranks",
    "score_captions",
    "tied_ranks",
    "video_text_measures",
    "exact_match",
    "mean_by_group",
    "median_rank",
    "normalise_answer",
    "older_consensus_accuracy",
    "rank_of_best_positive",
    "ranks_of_best_positives",
    "recall_at_k",
    "reranked_rows",
    "retrieval_measures",
    "score_blocks",
    "shortlist",
    "similarity_blocks",
    "similarity_rows",
    "texts_by_medium",
    "tokenize_caption",
    "tokenize_captions",
    "video_question_type",
    "consensus_accuracy",
]
