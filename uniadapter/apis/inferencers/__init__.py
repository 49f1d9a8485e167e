"""Inferencers: a model, inputs as they come, and plain results."""

from .base import BaseInferencer
from .retrieval import (
    ImageToTextRetrievalInferencer,
    RetrievalInferencer,
    TextToImageRetrievalInferencer,
    TextToVideoRetrievalInferencer,
    VideoToTextRetrievalInferencer,
)

__all__ = [
    "BaseInferencer",
    "ImageToTextRetrievalInferencer",
    "RetrievalInferencer",
    "TextToImageRetrievalInferencer",
    "TextToVideoRetrievalInferencer",
    "VideoToTextRetrievalInferencer",
]
