"""Towers with sites. None of them knows an adapter."""

from .bert import BertDecoder, BertModel
from .vit import BlipViT

__all__ = ["BertDecoder", "BertModel", "BlipViT"]
