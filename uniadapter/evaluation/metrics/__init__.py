"""Metrics for MMEngine's evaluator."""

from .caption import CaptionMetric
from .retrieval import RetrievalMetric
from .vqa import QAExactMatch, VQAMetric

__all__ = ["CaptionMetric", "QAExactMatch", "RetrievalMetric", "VQAMetric"]
