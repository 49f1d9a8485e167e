"""Metrics for MMEngine's evaluator."""

from .retrieval import RetrievalMetric

__all__ = ["RetrievalMetric"]
