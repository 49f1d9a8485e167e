"""Metrics for MMEngine's evaluator."""

from .retrieval import RetrievalMetric
from .vqa import QAExactMatch, VQAMetric

__all__ = ["QAExactMatch", "RetrievalMetric", "VQAMetric"]
