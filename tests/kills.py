"""Processes that are killed at a step that changes something on the disk."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

#: What changes something on the disk.
DISK: tuple[tuple[Any, str], ...] = (
    (os, "replace"),
    (os, "fsync"),
    (os, "rename"),
    (os, "unlink"),
    (os, "remove"),
    (os, "rmdir"),
    (os, "mkdir"),
    (Path, "unlink"),
)


def in_child(call: Callable[[], Any]) -> int:
    """Call in a process of its own; its exit status, negative for a signal."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            call()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed(
    call: Callable[[], Any], at: int, after: bool, points: Sequence[tuple[Any, str]] = DISK
) -> bool:
    """Call in a process that is killed at its n-th step; whether it got that far.

    Args:
        call: What is done.
        at: The number of the step, from 0.
        after: Kill when the step is done rather than before.
        points: What counts as a step, functions by their holder and name.
    """

    def counted() -> None:
        left = at

        def step(original: Callable) -> Callable:
            def replaced(*args: Any, **kwargs: Any) -> Any:
                nonlocal left
                left -= 1
                mine = left
                if mine == -1 and not after:
                    os.kill(os.getpid(), signal.SIGKILL)
                try:
                    return original(*args, **kwargs)
                finally:
                    if mine == -1:
                        os.kill(os.getpid(), signal.SIGKILL)

            return replaced

        for holder, name in points:
            setattr(holder, name, step(getattr(holder, name)))
        call()

    status = in_child(counted)
    assert status in (0, -signal.SIGKILL), "the call failed by itself; see its traceback"
    return status != 0
