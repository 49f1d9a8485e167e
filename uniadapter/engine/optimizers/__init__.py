"""Optimizer constructors."""

from .trainable import TrainableOptimWrapperConstructor

__all__ = ["TrainableOptimWrapperConstructor"]
