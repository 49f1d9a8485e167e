"""Locks of files between processes, on systems and disks that have them."""

from __future__ import annotations

import errno
from typing import IO, Any

try:
    import fcntl
# Other systems have no such locks: there, two processes must not write to one place at once.
except ImportError:
    fcntl = None  # type: ignore[assignment]


def lock_file(file: int | IO[Any], wait: bool = True) -> bool:
    """Take the lock of an open file or folder; closing it, or the end of the process, frees it.

    Args:
        file: The file, or its number.
        wait: Until nobody else has it.

    Returns:
        Whether it was taken; False where there are no locks, as on some disks of networks.

    Raises:
        BlockingIOError: If another process has it and ``wait`` is off.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno == errno.EWOULDBLOCK:
            raise
        return False
    return True
