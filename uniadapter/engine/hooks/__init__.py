"""Hooks."""

from .alpha_ramp import AlphaRampHook
from .compile import CompileHook
from .ema import EMAHook
from .epoch_seed import EpochSeedHook, seed_worker
from .frozen_precision import FrozenPrecisionHook
from .hard_negatives import HardNegativeHook
from .media_fault import MediaFaultHook
from .prediction import PredictionHook
from .rank_schedule import RankScheduleHook
from .safe_checkpoint import SafeCheckpointHook
from .tap_store import TapStoreHook
from .trainable_report import TrainableReportHook

__all__ = [
    "AlphaRampHook",
    "CompileHook",
    "EMAHook",
    "EpochSeedHook",
    "FrozenPrecisionHook",
    "HardNegativeHook",
    "MediaFaultHook",
    "PredictionHook",
    "RankScheduleHook",
    "SafeCheckpointHook",
    "TapStoreHook",
    "TrainableReportHook",
    "seed_worker",
]
