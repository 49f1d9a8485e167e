"""Datasets: one file a benchmark, reading its published annotation format."""

from . import transforms
from .base import BaseRetrievalDataset
from .didemo import DiDeMoRetrieval
from .json_lines import RetrievalJsonDataset
from .media import MediaError
from .msrvtt import MSRVTTRetrieval
from .pretrain import StillCaptionDataset

__all__ = [
    "BaseRetrievalDataset",
    "DiDeMoRetrieval",
    "MSRVTTRetrieval",
    "MediaError",
    "RetrievalJsonDataset",
    "StillCaptionDataset",
    "transforms",
]
