"""Ranking a gallery: encoding it, keeping its tokens, shortlists and their scores."""

from .gallery import Gallery, GalleryEncoder, Medium
from .options import RetrievalOptions, RetrievalTestOptions
from .ranking import Ranker, TextGallery, autocast_of
from .scoring import GalleryScorer
from .shortlist import reranked, score_pairs
from .texts import Texts
from .token_store import DiskTokens

__all__ = [
    "DiskTokens",
    "Gallery",
    "GalleryEncoder",
    "GalleryScorer",
    "Medium",
    "Ranker",
    "RetrievalOptions",
    "RetrievalTestOptions",
    "TextGallery",
    "Texts",
    "autocast_of",
    "reranked",
    "score_pairs",
]
