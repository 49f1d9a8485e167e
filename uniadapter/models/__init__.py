"""Towers, adapters, heads and tasks."""

from .adapters import Adapter, UniAdapter
from .backbones import AdaptedBackbone, BertDecoder, BertModel, BlipViT
from .build import build_model
from .data_preprocessor import MultimodalDataPreprocessor
from .necks import FrameAwareAttention
from .tasks import (
    BlipPretrainModel,
    CaptionModel,
    RetrievalModel,
    VisionLanguageModel,
    VQAModel,
)

__all__ = [
    "AdaptedBackbone",
    "Adapter",
    "BertDecoder",
    "BertModel",
    "BlipPretrainModel",
    "BlipViT",
    "CaptionModel",
    "FrameAwareAttention",
    "MultimodalDataPreprocessor",
    "RetrievalModel",
    "UniAdapter",
    "VQAModel",
    "VisionLanguageModel",
    "build_model",
]
