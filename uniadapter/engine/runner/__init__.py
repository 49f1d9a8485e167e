"""Loops, and what the runner needs around them."""

from .build import build_runner
from .flexible import CheckedFlexibleRunner
from .retrieval_loop import RetrievalTestLoop, RetrievalValLoop
from .runner import CheckedRunner
from .train_loops import EpochBasedTrainLoop, IterBasedTrainLoop

__all__ = [
    "CheckedFlexibleRunner",
    "CheckedRunner",
    "EpochBasedTrainLoop",
    "IterBasedTrainLoop",
    "RetrievalTestLoop",
    "RetrievalValLoop",
    "build_runner",
]
