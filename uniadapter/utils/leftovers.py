"""Names of what is not whole yet, and removing it when the process that wrote it was killed."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import socket
import sys
from contextlib import suppress
from errno import EISDIR
from functools import lru_cache
from pathlib import Path

#: Bytes of a name to which a temporary one adds its own; most disks take 255.
_LONGEST = 200
_TEMPORARY = re.compile(r"\.(?:.+\.)?(?P<pid>\d{1,9})\.(?P<place>[0-9a-f]{8})[0-9a-f]{8}\.tmp")
# Folders that were looked through by this process.
_LOOKED_THROUGH: set[str] = set()


def temporary_path(target: Path) -> Path:
    """A name beside a file or folder that is to be, for what is not whole yet.

    Raises:
        IsADirectoryError: If the path ends in no name, as ``/`` and ``.`` do.
    """
    if not target.name:
        raise IsADirectoryError(EISDIR, "it ends in no name", str(target))
    return target.with_name(f".{_shortened(target.name)}.{_owner()}.tmp")


def temporary_inside(folder: Path) -> Path:
    """A name in a folder, for what is to be moved into it."""
    return folder / f".{_owner()}.tmp"


def _shortened(name: str) -> str:
    while len(os.fsencode(name)) > _LONGEST:
        name = name[:-1]
    return name


def _owner() -> str:
    """This process, wherever others of its number are, and a thing of its own."""
    pid = os.getpid()
    return f"{pid}.{_place(pid)}{secrets.token_hex(4)}"


@lru_cache(maxsize=2)
def _place(pid: int) -> str:
    """Eight digits for where numbers of processes mean what they mean to this one.

    Another host has its own, and so has a container, and this host before it was started anew.
    """
    facts = [socket.gethostname()]
    if sys.platform == "linux":
        try:
            facts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
            facts.append(os.readlink("/proc/self/ns/pid"))
        except OSError:
            # Containers on one host may all say as little: then nobody's is known to be ended.
            facts.append(secrets.token_hex())
    return hashlib.sha256("\0".join(facts).encode("utf-8", "surrogateescape")).hexdigest()[:8]


def sweep(folder: str | Path, folders: bool = False, again: bool = True) -> None:
    """Remove what killed processes had begun to write to a folder, by the names of this module.

    What a process writes that is alive stays, and so does what another host or container writes,
    of which nobody here knows whether it is alive. Where it may not be removed, it stays too.

    Args:
        folder: The folder; it need not exist.
        folders: Also folders that were to take a place there, or whose files were.
        again: Look even if this process has looked there before. Where many small files are
            written, once is enough.
    """
    # Elsewhere asking for a process may end it.
    if os.name != "posix" or (not again and str(folder) in _LOOKED_THROUGH):
        return
    _LOOKED_THROUGH.add(str(folder))
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.endswith(".tmp") or not is_left(entry.name):
                continue
            if not entry.is_dir(follow_symlinks=False):
                with suppress(OSError):
                    os.unlink(entry.path)
            elif folders:
                shutil.rmtree(entry.path, ignore_errors=True)


def at_work(folder: str | Path) -> bool:
    """Whether a process, of this host or another one, may be writing to a folder."""
    try:
        names = os.listdir(folder)
    except OSError:
        return False
    return any(_TEMPORARY.fullmatch(name) and not is_left(name) for name in names)


def is_left(name: str) -> bool:
    """Whether a name is that of what a process of this host wrote that has ended."""
    found = _TEMPORARY.fullmatch(name)
    if found is None or found["place"] != _place(os.getpid()):
        return False
    try:
        os.kill(int(found["pid"]), 0)
    except ProcessLookupError:
        return True
    # It is alive, whosever it is.
    except OSError:
        return False
    return False
