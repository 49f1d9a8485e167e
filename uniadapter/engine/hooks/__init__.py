"""Hooks."""

from .alpha_ramp import AlphaRampHook
from .epoch_seed import EpochSeedHook, seed_worker
from .media_fault import MediaFaultHook
from .safe_checkpoint import SafeCheckpointHook
from .trainable_report import TrainableReportHook

__all__ = [
    "AlphaRampHook",
    "EpochSeedHook",
    "MediaFaultHook",
    "SafeCheckpointHook",
    "TrainableReportHook",
    "seed_worker",
]
