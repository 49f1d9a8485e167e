"""BLIP's text tower, split by idea: embeddings, attention, layer, encoder, decoder."""

from .decoder import BertDecoder
from .encoder import BertModel
from .text import BertText

__all__ = ["BertDecoder", "BertModel", "BertText"]
