"""Loops, and what the runner needs around them."""

from .build import build_runner
from .retrieval_loop import RetrievalTestLoop, RetrievalValLoop
from .runner import CheckedRunner

__all__ = ["CheckedRunner", "RetrievalTestLoop", "RetrievalValLoop", "build_runner"]
