"""Files on the disk that can be made again, within a limit of bytes."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

_TEMPORARY = ".part"
_ABANDONED = 3600.0


class DiskCache:
    """Files by key; where they become too many, those go that were asked for least recently.

    Several processes may share the folder: what one removed is made again by the others.

    Args:
        folder: Where they lie; it is created.
        limit: Bytes that they may take.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.limit = limit
        self._lock = threading.Lock()
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._total = 0
        self._scan()

    def find(self, name: str) -> Path | None:
        """A file by its name, which becomes the one used last; None where there is none."""
        path = self._path(name)
        try:
            state = path.stat()
            # When it was made stays: replies name it. Of files of somebody else it can't be noted.
            with suppress(PermissionError):
                os.utime(path, ns=(time.time_ns(), state.st_mtime_ns))
        except FileNotFoundError:
            with self._lock:
                self._total -= self._sizes.pop(name, 0)
            return None
        with self._lock:
            self._note(name, state.st_size)
        return path

    def temporary(self, name: str) -> Path:
        """Where a file is written before :meth:`add` takes it."""
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.with_name(f"{name}.{os.getpid()}.{secrets.token_hex(4)}{_TEMPORARY}")

    def add(self, name: str, temporary: Path) -> Path:
        """Keep a file, whole under its name from one moment to the next."""
        path = self._path(name)
        size = temporary.stat().st_size
        os.replace(temporary, path)
        with self._lock:
            self._note(name, size)
            while self._total > self.limit and len(self._sizes) > 1:
                oldest, bytes_of_it = self._sizes.popitem(last=False)
                self._total -= bytes_of_it
                # One that can't be removed is no reason to refuse another.
                with suppress(OSError):
                    self._path(oldest).unlink()
        return path

    def _path(self, name: str) -> Path:
        return self.folder / name[:2] / name

    def _note(self, name: str, size: int) -> None:
        self._total += size - self._sizes.pop(name, 0)
        self._sizes[name] = size

    def _scan(self) -> None:
        """Learn what is there already, and remove what killed processes left half-written."""
        found = []
        for path in self.folder.glob("??/*"):
            try:
                state = path.stat()
            except FileNotFoundError:
                continue
            if path.suffix != _TEMPORARY:
                found.append((state.st_atime, path.name, state.st_size))
            elif time.time() - state.st_mtime > _ABANDONED:
                with suppress(OSError):
                    path.unlink()
        for _, name, size in sorted(found):
            self._note(name, size)
