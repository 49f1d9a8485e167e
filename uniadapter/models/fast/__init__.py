"""All that is only faster: the same numbers with less to compute or to keep."""

from .execution import EVERY_TOKEN, FastExecution, execution_of
from .packing import Packing
from .prefix_cache import PrefixCache
from .prefix_identity import frozen_layers, frozen_tokens
from .switches import FastPaths

__all__ = [
    "EVERY_TOKEN",
    "FastExecution",
    "FastPaths",
    "Packing",
    "PrefixCache",
    "execution_of",
    "frozen_layers",
    "frozen_tokens",
]
