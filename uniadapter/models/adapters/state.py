"""Another name for functions that live in :mod:`uniadapter.checkpoints` and beside this folder."""

from uniadapter.checkpoints.adapter import check_state, load_adapter, save_adapter
from uniadapter.checkpoints.files import CONFIG_NAME, FORMAT_VERSION, WEIGHTS_NAME
from uniadapter.checkpoints.state import (
    backbone_fingerprint,
    heads_fingerprint,
    trained_state_dict,
)

from ..components import count_parameters, set_trainable

__all__ = [
    "CONFIG_NAME",
    "FORMAT_VERSION",
    "WEIGHTS_NAME",
    "backbone_fingerprint",
    "check_state",
    "count_parameters",
    "heads_fingerprint",
    "load_adapter",
    "save_adapter",
    "set_trainable",
    "trained_state_dict",
]
