"""Loops, and what the runner needs around them."""

from .build import build_runner
from .retrieval_loop import RetrievalTestLoop, RetrievalValLoop

__all__ = ["RetrievalTestLoop", "RetrievalValLoop", "build_runner"]
