"""Metrics for MMEngine's evaluator."""

from .caption import CaptionMetric
from .glue import GLUEMetric
from .grounding import GroundingMetric
from .retrieval import RetrievalMetric
from .soft_vqa import SoftVQAMetric
from .statements import NLVR2Metric
from .video_tasks import ChoiceMetric, VideoCaptionMetric
from .video_text import VideoTextMetric
from .vqa import QAExactMatch, VQAMetric

__all__ = [
    "CaptionMetric",
    "ChoiceMetric",
    "GLUEMetric",
    "GroundingMetric",
    "NLVR2Metric",
    "QAExactMatch",
    "RetrievalMetric",
    "SoftVQAMetric",
    "VQAMetric",
    "VideoCaptionMetric",
    "VideoTextMetric",
]
