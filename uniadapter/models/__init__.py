"""Towers, adapters, heads and tasks."""

from .adapters import (
    MAM,
    Adapter,
    BitFit,
    BottleneckAdapter,
    Ladder,
    LoRA,
    PeftAdapter,
    Prompt,
    STAdapter,
    UniAdapter,
    UniPT,
)
from .backbones import (
    AdaptedBackbone,
    Beit3Text,
    Beit3Vision,
    BertDecoder,
    BertModel,
    BlipViT,
    ClipText,
    ClipVisual,
)
from .build import build_model
from .clip_tokenizer import ClipTokenizer
from .data_preprocessor import MultimodalDataPreprocessor
from .heads import (
    AnswerHead,
    BatchContrastHead,
    HingeContrastHead,
    LanguageModelHead,
    MatchingHead,
    MomentumContrastHead,
)
from .necks import FrameAwareAttention, MeanPooling
from .sentencepiece_tokenizer import SentencePieceTokenizer
from .tasks import (
    BlipPretrainModel,
    CaptionModel,
    RetrievalModel,
    VisionLanguageModel,
    VQAModel,
)
from .tokenizer import BertTokenizer

__all__ = [
    "MAM",
    "AdaptedBackbone",
    "Adapter",
    "AnswerHead",
    "BatchContrastHead",
    "Beit3Text",
    "Beit3Vision",
    "BertDecoder",
    "BertModel",
    "BertTokenizer",
    "BitFit",
    "BlipPretrainModel",
    "BlipViT",
    "BottleneckAdapter",
    "CaptionModel",
    "ClipText",
    "ClipTokenizer",
    "ClipVisual",
    "FrameAwareAttention",
    "HingeContrastHead",
    "LanguageModelHead",
    "Ladder",
    "LoRA",
    "MatchingHead",
    "MeanPooling",
    "MomentumContrastHead",
    "MultimodalDataPreprocessor",
    "PeftAdapter",
    "Prompt",
    "RetrievalModel",
    "STAdapter",
    "SentencePieceTokenizer",
    "UniAdapter",
    "UniPT",
    "VQAModel",
    "VisionLanguageModel",
    "build_model",
]
