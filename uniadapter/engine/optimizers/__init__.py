"""Optimizer constructors."""

from .trainable import TrainableOptimWrapperConstructor
from .weighted import AmpOptimWrapper, OptimWrapper

__all__ = ["AmpOptimWrapper", "OptimWrapper", "TrainableOptimWrapperConstructor"]
