"""Adapters: plans that fill the sites of a backbone. None of them imports a backbone."""

from .base import Adapter
from .bitfit import BitFit
from .bottleneck import BottleneckAdapter
from .ladder import Ladder
from .lora import LoRA
from .mam import MAM
from .peft import PeftAdapter
from .prompt import Prompt
from .st_adapter import STAdapter
from .stack import Stack
from .uniadapter import UniAdapter
from .unipt import CoupledUniPT, SideNet, StageReduction, UniPT

__all__ = [
    "MAM",
    "Adapter",
    "BitFit",
    "BottleneckAdapter",
    "CoupledUniPT",
    "Ladder",
    "LoRA",
    "PeftAdapter",
    "Prompt",
    "STAdapter",
    "SideNet",
    "Stack",
    "StageReduction",
    "UniAdapter",
    "UniPT",
]
