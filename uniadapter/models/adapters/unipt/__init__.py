"""UniPT: a parallel network that reads a frozen tower's states (CVPR 2024, arXiv 2308.14316)."""

from .coupled import CoupledUniPT
from .method import UniPT
from .presets import PRESETS
from .reduction import StageReduction
from .side import SideNet, side_net

__all__ = ["PRESETS", "CoupledUniPT", "SideNet", "StageReduction", "UniPT", "side_net"]
