"""How results are measured."""

from . import functional
from .metrics import CaptionMetric, GroundingMetric, QAExactMatch, RetrievalMetric, VQAMetric

__all__ = [
    "CaptionMetric",
    "GroundingMetric",
    "QAExactMatch",
    "RetrievalMetric",
    "VQAMetric",
    "functional",
]
