"""Inferencers: a model, inputs as they come, and plain results."""

from .base import BaseInferencer
from .caption import CaptionInferencer
from .features import FeatureExtractor
from .retrieval import (
    ImageToTextRetrievalInferencer,
    RetrievalInferencer,
    TextToImageRetrievalInferencer,
    TextToVideoRetrievalInferencer,
    VideoToTextRetrievalInferencer,
)
from .vqa import VisualQuestionAnsweringInferencer

__all__ = [
    "BaseInferencer",
    "CaptionInferencer",
    "FeatureExtractor",
    "ImageToTextRetrievalInferencer",
    "RetrievalInferencer",
    "TextToImageRetrievalInferencer",
    "TextToVideoRetrievalInferencer",
    "VideoToTextRetrievalInferencer",
    "VisualQuestionAnsweringInferencer",
]
