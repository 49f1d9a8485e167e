"""How results are measured."""

from . import functional
from .metrics import (
    CaptionMetric,
    GLUEMetric,
    GroundingMetric,
    QAExactMatch,
    RetrievalMetric,
    VQAMetric,
)

__all__ = [
    "CaptionMetric",
    "GLUEMetric",
    "GroundingMetric",
    "QAExactMatch",
    "RetrievalMetric",
    "VQAMetric",
    "functional",
]
