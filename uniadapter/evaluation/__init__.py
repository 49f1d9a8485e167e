"""How results are measured."""

from . import functional
from .metrics import CaptionMetric, QAExactMatch, RetrievalMetric, VQAMetric

__all__ = ["CaptionMetric", "QAExactMatch", "RetrievalMetric", "VQAMetric", "functional"]
