"""BLIP's text tower, split by idea: embeddings, attention, layer, encoder, decoder."""

from .decoder import BertDecoder
from .encoder import BertModel

__all__ = ["BertDecoder", "BertModel"]
