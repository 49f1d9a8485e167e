"""Loops, and what the runner needs around them."""

from .retrieval_loop import RetrievalTestLoop, RetrievalValLoop

__all__ = ["RetrievalTestLoop", "RetrievalValLoop"]
