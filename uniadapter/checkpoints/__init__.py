"""Files of weights: read and written once, held against a model once, saved and loaded."""

from .adapter import load_adapter, save_adapter
from .backbone import load_pretrained
from .compare import Differences, compare
from .files import Content, read, read_state_dict, write
from .hub import load_from_safetensors
from .load import load_weights
from .state import backbone_fingerprint, heads_fingerprint, trained_state_dict

__all__ = [
    "Content",
    "Differences",
    "backbone_fingerprint",
    "compare",
    "heads_fingerprint",
    "load_adapter",
    "load_from_safetensors",
    "load_pretrained",
    "load_weights",
    "read",
    "read_state_dict",
    "save_adapter",
    "trained_state_dict",
    "write",
]
