"""Hooks."""

from .epoch_seed import EpochSeedHook, seed_worker
from .safe_checkpoint import SafeCheckpointHook

__all__ = ["EpochSeedHook", "SafeCheckpointHook", "seed_worker"]
