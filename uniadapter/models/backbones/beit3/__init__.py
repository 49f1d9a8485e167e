"""BEiT-3 for retrieval: a tower for images and one for texts."""

from .towers import Beit3Text, Beit3Vision

__all__ = ["Beit3Text", "Beit3Vision"]
