"""Containers that travel with the batches."""

from .multimodal_sample import MultimodalSample

__all__ = ["MultimodalSample"]
