"""Tasks: towers, adapter and heads as MMEngine models."""

from .base import VisionLanguageModel
from .pretrain import BlipPretrainModel
from .retrieval import RetrievalModel

__all__ = ["BlipPretrainModel", "RetrievalModel", "VisionLanguageModel"]
