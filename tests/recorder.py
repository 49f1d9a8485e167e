"""Hook for configs of the tests: ``custom_imports`` names this module."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from uniadapter.registry import HOOKS


@HOOKS.register_module()
class LossRecorder(Hook):
    """Writes the losses of every iteration, averaged over the ranks, and all metrics.

    Args:
        path: JSON file to write.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.losses: list[dict[str, Any]] = []
        self.metrics: list[dict[str, float]] = []

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Keep the losses and which media the batch had, over all ranks in order."""
        parts = all_gather_object(
            (
                {name: float(value) for name, value in outputs.items()},
                [sample.media_id for sample in data_batch["data_samples"]],
            )
        )
        record: dict[str, Any] = {
            name: sum(part[0][name] for part in parts) / len(parts) for name in outputs
        }
        record["media"] = sorted(media for part in parts for media in part[1])
        self.losses.append(record)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Keep the metrics."""
        self.metrics.append(dict(metrics or {}))

    def after_train(self, runner: Runner) -> None:
        """Write the file."""
        if is_main_process():
            content = {"losses": self.losses, "metrics": self.metrics}
            Path(self.path).write_text(json.dumps(content))
