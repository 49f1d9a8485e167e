"""BLIP's text tower, split by idea: embeddings, attention, layer, encoder, decoder."""

from .cross import CrossInput, KeyValue
from .decoder import BertDecoder
from .encoder import BertModel
from .packing import Packing

__all__ = ["BertDecoder", "BertModel", "CrossInput", "KeyValue", "Packing"]
