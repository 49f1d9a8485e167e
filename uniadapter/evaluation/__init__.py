"""How results are measured."""

from . import functional
from .metrics import QAExactMatch, RetrievalMetric, VQAMetric

__all__ = ["QAExactMatch", "RetrievalMetric", "VQAMetric", "functional"]
