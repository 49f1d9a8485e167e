"""How other code bases name the same weights, one file each; reading and writing theirs."""

from .convert import (
    FLAT_TARGETS,
    SAFETENSORS_TARGETS,
    SOURCES,
    TARGETS,
    convert_with,
    export_state,
    read_checkpoint,
)
from .keys import Report

__all__ = [
    "FLAT_TARGETS",
    "SAFETENSORS_TARGETS",
    "SOURCES",
    "TARGETS",
    "Report",
    "convert_with",
    "export_state",
    "read_checkpoint",
]
