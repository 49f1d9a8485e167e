"""Adapters: plans that fill the sites of a backbone. None of them imports a backbone."""

from .base import Adapter
from .bitfit import BitFit
from .bottleneck import BottleneckAdapter
from .hyperformer import Hyperformer
from .ladder import Ladder
from .lora import LoRA
from .mam import MAM
from .peft import PeftAdapter
from .prompt import Prompt
from .prompt_tuning import PromptTuning
from .st_adapter import STAdapter
from .stack import Stack
from .uniadapter import UniAdapter
from .unipt import CoupledUniPT, SideNet, StageReduction, UniPT
from .vl_adapter import VLAdapter

__all__ = [
    "MAM",
    "Adapter",
    "BitFit",
    "BottleneckAdapter",
    "CoupledUniPT",
    "Hyperformer",
    "Ladder",
    "LoRA",
    "PeftAdapter",
    "Prompt",
    "PromptTuning",
    "STAdapter",
    "SideNet",
    "Stack",
    "StageReduction",
    "UniAdapter",
    "UniPT",
    "VLAdapter",
]
