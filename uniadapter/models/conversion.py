"""Another name for functions that live in :mod:`uniadapter.checkpoints.layouts`."""

from uniadapter.checkpoints.layouts import (
    SOURCES,
    TARGETS,
    Report,
    export_state,
    read_checkpoint,
)

__all__ = ["SOURCES", "TARGETS", "Report", "export_state", "read_checkpoint"]
