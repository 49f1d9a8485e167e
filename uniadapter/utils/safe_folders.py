"""Files of one folder that stand together, and files that one process alone may make."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

from .errors import WriteError
from .locks import lock_file
from .safe_io import atomic_write, is_stream, writing


@contextmanager
def folder_lock(folder: str | Path) -> Iterator[None]:
    """Be the one process that is in this context with a folder; others wait. It leaves no file.

    Where folders have no locks (other systems, NFS), or this user may write to one that it may not
    read, nobody waits: files stay whole all the same, but may be of several processes.

    Args:
        folder: A folder that exists.
    """
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:
        yield
        return
    try:
        lock_file(handle)
        yield
    finally:
        os.close(handle)


def check_place(path: str | Path) -> None:
    """Refuse a place for a file that can't be written, before the work that makes its content.

    Args:
        path: The file to be; nothing is left there.

    Raises:
        WriteError: If its folder is not to be written to, or can't be made.
    """
    if is_stream(path):
        return
    folder = Path(path).absolute().parent
    # Path.exists() raises where it may not look.
    while not os.path.exists(folder) and folder != folder.parent:
        folder = folder.parent
    try:
        with TemporaryFile(dir=folder, suffix=".tmp"):
            pass
    except OSError as error:
        raise WriteError(path, OSError(error.errno, os.strerror(error.errno or 0))) from error


@contextmanager
def staged_folder(folder: str | Path) -> Iterator[Path]:
    """An empty folder whose files take their places in another one together, at the end.

    Of two processes that write to one folder at once, the files of one of them stay, and those that
    the other one alone has. An error in the context changes nothing.

    Args:
        folder: Where the files are to be; it is created.

    Yields:
        Where they are written; it lies in the folder.

    Raises:
        WriteError: If the disk is full, read-only or the like.
    """
    target = Path(folder)
    inside = target / f".{os.getpid()}.{secrets.token_hex(4)}.tmp"
    made = [place for place in (target, *target.parents) if not os.path.exists(place)]
    try:
        try:
            inside.mkdir(parents=True)
        except OSError as error:
            raise WriteError(target, error) from error
        yield inside
        with folder_lock(target):
            for file in sorted(inside.iterdir()):
                with writing(target / file.name):
                    os.replace(file, target / file.name)
        made = []
    except WriteError as error:
        # The file that was wanted, not where it was written first.
        named = WriteError(str(error).replace(str(inside), str(target)))
        named.errno, named.filename = error.errno, str(target)
        raise named from error
    finally:
        shutil.rmtree(inside, ignore_errors=True)
        for place in made:
            # Another process may be writing there.
            with suppress(OSError):
                place.rmdir()


def create_file(path: str | Path, data: bytes) -> bool:
    """Write a file, whole, that nobody has written yet.

    Args:
        path: Target file; its folder is created.
        data: The content.

    Returns:
        Whether it was written; of several processes it is by one.

    Raises:
        WriteError: If the disk is full, read-only or the like.
    """
    target = Path(path)
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with folder_lock(target.parent):
            if target.exists():
                return False
            atomic_write(target, data)
    return True
