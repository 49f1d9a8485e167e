"""Lines of progress of a stage that takes minutes."""

from __future__ import annotations

import math
import time

from mmengine.logging import MMLogger


class Progress:
    """Logs how far a stage is and when it will be done, every so many seconds.

    Args:
        stage: Its name.
        total: Steps it has.
        interval: Seconds between two lines; infinite for none at all.
    """

    def __init__(self, stage: str, total: int, interval: float) -> None:
        self.stage, self.total, self.interval = stage, total, interval
        self.start = self.last = time.monotonic()

    def update(self, done: int) -> None:
        """Tell how many steps are done."""
        now = time.monotonic()
        if now - self.last < self.interval and (done < self.total or self.interval == math.inf):
            return
        self.last = now
        spent = now - self.start
        left = time.strftime("%H:%M:%S", time.gmtime(spent / done * (self.total - done)))
        MMLogger.get_current_instance().info(
            f"{self.stage} [{done}/{self.total}]  eta: {left}  spent: {spent:.1f} s"
        )
