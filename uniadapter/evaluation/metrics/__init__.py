"""Metrics for MMEngine's evaluator."""

from .caption import CaptionMetric
from .glue import GLUEMetric
from .grounding import GroundingMetric
from .retrieval import RetrievalMetric
from .soft_vqa import SoftVQAMetric
from .video_text import VideoTextMetric
from .vqa import QAExactMatch, VQAMetric

__all__ = [
    "CaptionMetric",
    "GLUEMetric",
    "GroundingMetric",
    "QAExactMatch",
    "RetrievalMetric",
    "SoftVQAMetric",
    "VQAMetric",
    "VideoTextMetric",
]
