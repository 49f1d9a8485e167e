"""Towers with sites. None of them knows an adapter."""

from .adapted import AdaptedBackbone
from .bart import Bart
from .beit3 import Beit3Text, Beit3Vision
from .bert import BertDecoder, BertModel, BertText
from .bert_stream import BertStream
from .charts import Chart, Place
from .clip import ClipText, ClipVisual
from .clip_resnet import ClipGrid, ClipResNet
from .conv import ConvTower
from .detr import DetrTower, RobertaText
from .efficientnet_lite import EfficientNetLite
from .frozen_resnet import FrozenResNet
from .hosted import HostedTower
from .resnet import ResNetVisual
from .sentence_bert import SentenceBert
from .small_conv import SmallConvVisual
from .t5 import T5
from .vit import BlipViT

__all__ = [
    "T5",
    "AdaptedBackbone",
    "Bart",
    "Beit3Text",
    "Beit3Vision",
    "BertDecoder",
    "BertModel",
    "BertText",
    "BertStream",
    "BlipViT",
    "Chart",
    "ClipGrid",
    "ClipResNet",
    "ClipText",
    "ClipVisual",
    "ConvTower",
    "EfficientNetLite",
    "HostedTower",
    "Place",
    "ResNetVisual",
    "DetrTower",
    "FrozenResNet",
    "RobertaText",
    "SentenceBert",
    "SmallConvVisual",
]
