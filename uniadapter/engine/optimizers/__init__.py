"""Optimizers, schedules and optimizer constructors."""

from .bert_adam import BertAdam
from .trainable import TrainableOptimWrapperConstructor
from .warmup_cosine import WarmupCosineLR
from .warmup_linear import WarmupLinearLR
from .weighted import AmpOptimWrapper, OptimWrapper

__all__ = [
    "AmpOptimWrapper",
    "BertAdam",
    "OptimWrapper",
    "TrainableOptimWrapperConstructor",
    "WarmupCosineLR",
    "WarmupLinearLR",
]
