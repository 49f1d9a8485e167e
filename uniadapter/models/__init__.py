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
    BertText,
    BlipViT,
    ClipText,
    ClipVisual,
    ConvTower,
    ResNetVisual,
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
    PooledHingeHead,
)
from .necks import FrameAwareAttention, GeneralizedPooling, MeanPooling, TokenMeanPooling
from .sentencepiece_tokenizer import SentencePieceTokenizer
from .tasks import (
    BlipPretrainModel,
    CaptionModel,
    RetrievalModel,
    VisionLanguageModel,
    VQAModel,
    VseModel,
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
    "BertText",
    "BertTokenizer",
    "BitFit",
    "BlipPretrainModel",
    "BlipViT",
    "BottleneckAdapter",
    "CaptionModel",
    "ClipText",
    "ClipTokenizer",
    "ClipVisual",
    "ConvTower",
    "FrameAwareAttention",
    "GeneralizedPooling",
    "HingeContrastHead",
    "LanguageModelHead",
    "Ladder",
    "LoRA",
    "MatchingHead",
    "MeanPooling",
    "MomentumContrastHead",
    "MultimodalDataPreprocessor",
    "PeftAdapter",
    "PooledHingeHead",
    "Prompt",
    "ResNetVisual",
    "RetrievalModel",
    "STAdapter",
    "SentencePieceTokenizer",
    "TokenMeanPooling",
    "UniAdapter",
    "UniPT",
    "VQAModel",
    "VisionLanguageModel",
    "VseModel",
    "build_model",
]
