"""Conversion of checkpoints between this package's names and those of other code bases."""

from .convert import SOURCES, TARGETS, export_state, read_checkpoint
from .keys import Report

__all__ = [
    "SOURCES",
    "TARGETS",
    "Report",
    "export_state",
    "read_checkpoint",
]
