"""How results are measured."""

from . import functional
from .metrics import (
    CaptionMetric,
    ChoiceMetric,
    GLUEMetric,
    GroundingMetric,
    NLVR2Metric,
    QAExactMatch,
    RetrievalMetric,
    SoftVQAMetric,
    VideoCaptionMetric,
    VQAMetric,
)

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
    "functional",
]
