"""Parameter-free parts between towers and heads."""

from .pfa import FrameAwareAttention

__all__ = ["FrameAwareAttention"]
