"""Losses: image-text contrastive, image-text matching, language modelling."""

from .itc import FeatureQueue, contrastive_loss
from .itm import draw_negatives
from .lm import decoder_loss, language_model_loss

__all__ = [
    "FeatureQueue",
    "contrastive_loss",
    "decoder_loss",
    "draw_negatives",
    "language_model_loss",
]
