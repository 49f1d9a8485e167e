"""Parts without parameters between towers and heads: how frames become a video."""

from .frame_attention import FrameAwareAttention
from .pooling import MeanPooling

__all__ = ["FrameAwareAttention", "MeanPooling"]
