"""Parts between towers and heads: how frames become a video, and tokens an embedding."""

from .feature_pooling import FeaturePooling
from .frame_attention import FrameAwareAttention
from .pooling import GeneralizedPooling, MeanPooling, TokenMeanPooling
from .temporal_pooling import TemporalPooling
from .visual_embedding import VisualEmbedding

__all__ = [
    "FeaturePooling",
    "FrameAwareAttention",
    "GeneralizedPooling",
    "MeanPooling",
    "TemporalPooling",
    "TokenMeanPooling",
    "VisualEmbedding",
]
