"""Towers with sites. None of them knows an adapter."""

from .adapted import AdaptedBackbone
from .beit3 import Beit3Text, Beit3Vision
from .bert import BertDecoder, BertModel
from .charts import Chart, Place
from .clip import ClipText, ClipVisual
from .hosted import HostedTower
from .vit import BlipViT

__all__ = [
    "AdaptedBackbone",
    "Beit3Text",
    "Beit3Vision",
    "BertDecoder",
    "BertModel",
    "BlipViT",
    "Chart",
    "ClipText",
    "ClipVisual",
    "HostedTower",
    "Place",
]
