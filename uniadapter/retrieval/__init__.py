"""Ranking a gallery: encoding it, keeping its tokens, shortlists and their scores."""

from .gallery import Gallery, GalleryEncoder, Medium
from .options import RetrievalOptions, RetrievalTestOptions
from .scoring import GalleryScorer
from .shortlist import reranked, score_pairs
from .token_store import DiskTokens

__all__ = [
    "DiskTokens",
    "Gallery",
    "GalleryEncoder",
    "GalleryScorer",
    "Medium",
    "RetrievalOptions",
    "RetrievalTestOptions",
    "reranked",
    "score_pairs",
]
