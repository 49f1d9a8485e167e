"""Adapters: plans that fill the sites of a backbone. None of them imports a backbone."""

from .base import Adapter
from .uniadapter import UniAdapter

__all__ = ["Adapter", "UniAdapter"]
