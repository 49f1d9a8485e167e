"""Count the media that could not be read while training."""

from __future__ import annotations

from typing import Any

from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...registry import HOOKS


@HOOKS.register_module()
class MediaFaultHook(Hook):
    """Log how many training samples stand in for a medium that could not be read.

    The data loader's workers replace unreadable media and note the paths in the samples; this hook
    adds them up in the main process. From the first one on, the running count of this process is
    the scalar ``media_replaced`` of the log. At the end of an epoch the sum over all processes is
    logged with the names of the files, and put in the message hub under ``media_faults``:
    ``dict(replaced=int, paths=list[str])``.
    """

    priority = "NORMAL"

    def __init__(self) -> None:
        self._count = 0
        self._paths: set[str] = set()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Add up what the samples of this batch replaced."""
        for sample in (data_batch or {}).get("data_samples", ()):
            replaced = sample.get("replaced") or []
            self._count += len(replaced)
            self._paths.update(replaced)
        if self._count:
            runner.message_hub.update_scalar("train/media_replaced", self._count)

    def after_train_epoch(self, runner: Runner) -> None:
        """Log the count so far and the files, summed over the processes."""
        parts = all_gather_object((self._count, sorted(self._paths)))
        count = sum(part[0] for part in parts)
        paths = sorted({path for part in parts for path in part[1]})
        runner.message_hub.update_info("media_faults", {"replaced": count, "paths": paths})
        if count:
            runner.logger.warning(
                f"Up to epoch {runner.epoch + 1}, {count} samples were replaced because "
                f"{len(paths)} media could not be read: {', '.join(paths)}"
            )
