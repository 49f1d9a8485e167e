"""Towers with sites. None of them knows an adapter."""

from .adapted import AdaptedBackbone
from .bert import BertDecoder, BertModel
from .charts import Chart, Place
from .hosted import HostedTower
from .vit import BlipViT

__all__ = [
    "AdaptedBackbone",
    "BertDecoder",
    "BertModel",
    "BlipViT",
    "Chart",
    "HostedTower",
    "Place",
]
