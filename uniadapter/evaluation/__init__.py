"""How results are measured."""

from . import functional
from .joint_evaluator import JointEvaluator
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
    "JointEvaluator",
    "NLVR2Metric",
    "QAExactMatch",
    "RetrievalMetric",
    "SoftVQAMetric",
    "VQAMetric",
    "VideoCaptionMetric",
    "functional",
]
