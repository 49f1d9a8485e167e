"""Adapters: plans that fill the sites of a backbone. None of them imports a backbone."""

from .base import Adapter
from .uniadapter import UniAdapter
from .unipt import SideNet, StageReduction

__all__ = ["Adapter", "SideNet", "StageReduction", "UniAdapter"]
