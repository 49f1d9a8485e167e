"""How other code bases name the same weights, one file each; reading and writing theirs."""

from .convert import SOURCES, TARGETS, export_state, read_checkpoint
from .keys import Report

__all__ = [
    "SOURCES",
    "TARGETS",
    "Report",
    "export_state",
    "read_checkpoint",
]
