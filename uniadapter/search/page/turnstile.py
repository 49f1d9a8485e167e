"""Lets searches through to the model one by one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from .answers import PageError

T = TypeVar("T")


class Turnstile:
    """One thread for the model, in front of which a bounded number of calls wait.

    Args:
        waiting: How many may wait beside the one that runs.
    """

    def __init__(self, waiting: int) -> None:
        self.waiting = waiting
        self.inside = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")

    async def run(self, call: Callable[[], T]) -> Timed[T]:
        """Call in the model's thread.

        Returns:
            What the call gave, and the seconds it waited for its turn.

        Raises:
            PageError: If too many wait.
        """
        if self.inside > self.waiting:
            message = f"{self.inside} searches run or wait already: come again in a moment."
            raise PageError(503, "busy", message, {"Retry-After": "2"})
        self.inside += 1
        asked = time.perf_counter()

        def timed() -> Timed[T]:
            waited = time.perf_counter() - asked
            return Timed(call(), waited)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, timed)
        finally:
            self.inside -= 1

    def close(self) -> None:
        """Let the call that runs end, and no other begin."""
        self._thread.shutdown(wait=True, cancel_futures=True)


class Timed(Generic[T]):
    """A result and the seconds that its call waited."""

    def __init__(self, result: T, waited: float) -> None:
        self.result = result
        self.waited = waited
