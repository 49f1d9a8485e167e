"""Containers that travel with the batches."""

from .kept_taps import KeptFrames, KeptItem, KeptStates
from .multimodal_sample import META_KEYS, MultimodalSample

__all__ = ["META_KEYS", "KeptFrames", "KeptItem", "KeptStates", "MultimodalSample"]
