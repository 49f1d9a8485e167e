"""Heads and their losses: contrast, matching, words, answers."""

from .answers import AnswerHead
from .base import Head
from .classes import AnswerClassHead
from .contrast import BatchContrastHead, ContrastHead, MomentumContrastHead
from .grounding import GroundingHead
from .hinge import HingeContrastHead
from .itc import FeatureQueue, contrastive_loss
from .matching import MatchBatch, MatchingHead, Pairs, draw_negatives, draw_pairs
from .pooled import PooledHingeHead
from .words import LanguageModelHead, decoder_loss, language_model_loss

__all__ = [
    "AnswerClassHead",
    "AnswerHead",
    "BatchContrastHead",
    "ContrastHead",
    "FeatureQueue",
    "GroundingHead",
    "Head",
    "HingeContrastHead",
    "LanguageModelHead",
    "MatchBatch",
    "MatchingHead",
    "MomentumContrastHead",
    "Pairs",
    "PooledHingeHead",
    "contrastive_loss",
    "decoder_loss",
    "draw_negatives",
    "draw_pairs",
    "language_model_loss",
]
