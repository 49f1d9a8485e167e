"""Retrieval models as files that run without the project: ONNX, or programs of torch.export."""

from .exporting import ExportOptions, check_folder, export_model
from .facts import ExportFacts
from .loaded import ExportedModel, is_exported, load_exported

__all__ = [
    "ExportFacts",
    "ExportOptions",
    "ExportedModel",
    "check_folder",
    "export_model",
    "is_exported",
    "load_exported",
]
