"""How results are measured."""

from . import functional
from .metrics import RetrievalMetric

__all__ = ["RetrievalMetric", "functional"]
