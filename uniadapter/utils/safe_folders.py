"""Files of one folder that stand together, and files that one process alone may make."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

from .errors import WriteError
from .leftovers import sweep, temporary_inside, temporary_path
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
def staged_folder(folder: str | Path, head: str | None = None) -> Iterator[Path]:
    """An empty folder whose files take their places in another one together, at the end.

    Of two processes that write to one folder at once, the files of one of them stay, and those that
    the other one alone has. An error in the context, or when files take their places, changes
    nothing. A process that is killed while they do leaves a folder without ``head``, which nobody
    reads; what it left besides is removed when the folder is written again.

    Args:
        folder: Where the files are to be; it is created.
        head: The file that readers read first, which says what the others are. It is away while
            the others change. None: the files are exchanged one by one.

    Yields:
        Where they are written; it lies in the folder.

    Raises:
        WriteError: If the disk is full, read-only or the like.
    """
    target = Path(folder)
    sweep(target, folders=True)
    inside = temporary_inside(target)
    made = [place for place in (target, *target.parents) if not os.path.exists(place)]
    try:
        try:
            inside.mkdir(parents=True)
        except OSError as error:
            raise WriteError(target, error) from error
        with meaning(target, inside):
            yield inside
            with folder_lock(target):
                _take_places(inside, target, head)
        made = []
    finally:
        shutil.rmtree(inside, ignore_errors=True)
        for place in made:
            # Another process may be writing there.
            with suppress(OSError):
                place.rmdir()


@contextmanager
def new_folder(folder: str | Path, replace: bool = False) -> Iterator[Path]:
    """A folder beside one that is wanted, which takes its place, whole, at the end of the context.

    Args:
        folder: The folder to be; nothing or an empty folder stands there.
        replace: Another one may stand there, which is removed then. A process that is killed in
            between leaves none.

    Yields:
        Where its files are written.

    Raises:
        WriteError: If the disk is full, read-only or the like; nothing is left, and what stood
            there stays.
    """
    target = Path(folder)
    sweep(target.parent, folders=True)
    inside, aside = temporary_path(target), temporary_path(target)
    try:
        with writing(target):
            inside.mkdir(parents=True)
        with meaning(target, inside):
            yield inside
        with writing(target):
            if replace and target.exists():
                # A folder can't be exchanged at once: the old one steps aside, whole.
                os.replace(target, aside)
            os.replace(inside, target)
    finally:
        if aside.exists() and not target.exists():
            os.replace(aside, target)
        for left in (inside, aside):
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def meaning(target: Path, inside: Path) -> Iterator[None]:
    """Let errors name the folder that was wanted, not the one that is written first.

    Args:
        target: The folder that was wanted.
        inside: The one that is written.

    Raises:
        WriteError: Instead of what the system, torch or safetensors say of files in ``inside``.
    """
    try:
        with writing(inside, inside):
            yield
    except WriteError as error:
        named = WriteError(str(error).replace(str(inside), str(target)))
        named.errno, named.filename = error.errno, str(target)
        raise named from error


def _take_places(inside: Path, target: Path, head: str | None) -> None:
    """Move the files of a folder into another one, all or, after an error, none."""
    names = sorted(os.listdir(inside))
    changed = [name for name in names if name != head and not _same(inside, target, name)]
    if head in names and (changed or not _same(inside, target, head)):
        changed.append(head)
    aside, placed = inside / ".before", []
    aside.mkdir()
    try:
        # The head first: without it nothing that follows is taken for whole.
        for name in reversed(changed if head in names and len(changed) > 1 else []):
            # A folder stays, and says below that no file takes its place.
            if _is_file(target / name):
                # Where folders have no locks another process may have moved it meanwhile.
                with writing(target / name), suppress(FileNotFoundError):
                    os.replace(target / name, aside / name)
        for name in changed:
            with writing(target / name):
                os.replace(inside / name, target / name)
            placed.append(name)
    except BaseException:
        _put_back(aside, target, changed, placed if head in names else [])
        raise


def _is_file(path: Path) -> bool:
    return os.path.islink(path) or os.path.isfile(path)


def _same(inside: Path, target: Path, name: str) -> bool:
    """Whether a file stands there already, so that nobody who reads it need be disturbed."""
    try:
        return filecmp.cmp(inside / name, target / name, shallow=False)
    except OSError:
        return False


def _put_back(aside: Path, target: Path, names: list[str], placed: list[str]) -> None:
    """Let a folder be as it was, the head last; what can't be done is left."""
    for name in names:
        with suppress(OSError):
            if _is_file(aside / name):
                os.replace(aside / name, target / name)
            elif name in placed:
                os.unlink(target / name)


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
