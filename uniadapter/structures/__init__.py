"""Containers that travel with the batches."""

from .multimodal_sample import META_KEYS, MultimodalSample

__all__ = ["META_KEYS", "MultimodalSample"]
