"""Features of pictures and videos by CLIP's networks, computed once and kept on disk."""

from .extractor import ClipExtractor
from .options import ExtractionOptions, find_media, make_units

__all__ = ["ClipExtractor", "ExtractionOptions", "find_media", "make_units"]
