"""Files that are whole or absent when written, and never run code when read."""

from __future__ import annotations

import os
import pickle
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from mmengine.fileio import LocalBackend, register_backend
from safetensors import SafetensorError

from .errors import WriteError
from .leftovers import sweep, temporary_path

_OF_TORCH = ("PytorchStreamWriter", "inline_container.cc", "iostream error")


@contextmanager
def writing(path: str | Path, inside: Path | None = None) -> Iterator[None]:
    """Let what goes wrong with writing a file name it, and say what to do.

    What is wrong with another file that the block names keeps its own error.

    Args:
        path: The file, whatever temporary name it is written under; or a folder.
        inside: The files are in this folder. None: the file is in that of ``path``, which may be
            made, and so on.

    Raises:
        WriteError: Instead of what the system, torch or safetensors say.
    """
    try:
        yield
    except WriteError:
        raise
    except SafetensorError as error:
        raise WriteError(path, error) from error
    except OSError as error:
        # One that is raised on purpose speaks for itself.
        if error.errno is None and type(error) is not OSError:
            raise
        # Of a file that is open the system names none.
        folders = _folders(path) if inside is None else [inside]
        if error.filename2 is not None and Path(str(error.filename2)) == Path(path):
            # What was renamed to it is not what its place refuses.
            error = OSError(error.errno, error.strerror)
        if error.filename is not None and Path(str(error.filename)).parent not in folders:
            raise
        raise WriteError(path, error) from error
    except RuntimeError as error:
        # torch's writer of archives says no more than that it failed, in one of these ways.
        if not any(sign in str(error) for sign in _OF_TORCH):
            raise
        raise WriteError(path, error) from error


def _folders(path: str | Path) -> list[Path]:
    """The folder of a file, under all names, and those that it is made in."""
    return list(Path(path).parents)


def is_stream(path: str | Path) -> bool:
    """Whether a path is a device, a pipe or an output of a process, such as ``/dev/stdout``.

    Nothing can be renamed to it: a user with the rights would put a file in the device's place.
    """
    path = os.path.abspath(path)
    if path.startswith(("/proc/", "/dev/fd/")) or path in ("/dev/stdout", "/dev/stderr"):
        return True
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


@contextmanager
def atomic_file(path: str | Path, sync: bool = True) -> Iterator[IO[bytes]]:
    """Open a new file under a temporary name in its folder; at the end it is renamed.

    A process that is killed half-way, or an error, leaves the previous file as it was; what a
    killed one had begun is removed when the next file is written there.

    Args:
        path: Target file; its folder is created. A device or a pipe is written to as it is.
        sync: Wait until the disk has it. Without, a crash of the system may leave a damaged file.

    Yields:
        The file, to write to and to read from.

    Raises:
        WriteError: If the disk is full, read-only or the like.
    """
    target = Path(path)
    if is_stream(target):
        with writing(target), open(target, "wb") as file:
            yield file
        return
    with writing(target):
        temporary = temporary_path(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Many files that nobody waits for are of one kind, and may be very many.
        sweep(target.parent, again=sync)
        try:
            with open(temporary, "w+b") as file:
                yield file
                file.flush()
                if sync:
                    os.fsync(file.fileno())
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


def atomic_write(path: str | Path, data: bytes, sync: bool = True) -> None:
    """Write a file of this content, see :func:`atomic_file`.

    Args:
        path: Target file; its folder is created.
        data: The content.
        sync: Wait until the disk has it. Without, a crash of the system may leave a damaged file.

    Raises:
        WriteError: If the disk is full, read-only or the like; the file is as it was before.
    """
    with atomic_file(path, sync) as file:
        file.write(data)


@register_backend("atomic_local", prefixes=None)
class AtomicLocalBackend(LocalBackend):
    """MMEngine's local files, written as :func:`atomic_write` does.

    Checkpoints reach the disk through it when a hook's ``backend_args`` name it.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes to a file.

        Args:
            obj: The content.
            filepath: Target file.
        """
        atomic_write(filepath, obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = "utf-8") -> None:
        """Write text to a file.

        Args:
            obj: The content.
            filepath: Target file.
            encoding: Encoding of the file.
        """
        atomic_write(filepath, obj.encode(encoding))


def load_torch_file(path: str | Path, map_location: str = "cpu") -> Any:
    """Read a file of ``torch.save`` without running any code of its.

    Args:
        path: The file.
        map_location: Device of the tensors.

    Returns:
        What was saved: tensors, numbers, strings and containers of them.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is truncated or corrupt, or holds objects that need pickled code.
    """
    file = Path(path)
    # A name may be longer than any file's, as of a damaged pointer.
    if not os.path.isfile(file):
        raise FileNotFoundError(f"Checkpoint {file} does not exist.")
    try:
        return torch.load(file, map_location=map_location, weights_only=True)
    except Exception as error:
        # Random bytes make the unpickler fail in any way, with an IndexError for one.
        remedy = " Its weights alone are read by init_model and model.pretrained."
        raise damaged(file, error, remedy) from error


def damaged(path: Path, error: Exception, remedy: str = "") -> ValueError:
    """What to say of a checkpoint that can't be read.

    Args:
        path: The file.
        error: Why.
        remedy: What to do where it holds objects that are refused.

    Returns:
        The error to raise.
    """
    what = what_it_is(path)
    if what is not None:
        return ValueError(f"Checkpoint {path} {what}.")
    if _is_text(path):
        return ValueError(f"Checkpoint {path} is a text file, not the weights: name their file.")
    if not isinstance(error, pickle.UnpicklingError):
        return ValueError(f"Checkpoint {path} is truncated or corrupt. ({_first_line(error)})")
    return ValueError(
        f"Checkpoint {path} is corrupt, or holds objects that only running its code could rebuild, "
        f"which is refused.{remedy} ({_first_line(error)})"
    )


def _is_text(path: Path) -> bool:
    """Whether a file, a config given for a checkpoint, starts as a text."""
    start = path.read_bytes()[:256] if path.stat().st_size < 2**20 else b""
    text = start.decode("ascii", "replace")
    return len(text) > 8 and all(c.isprintable() or c in "\r\n\t" for c in text)


_STARTS = {
    b"version https://git-lfs": "is a pointer of Git LFS, not the weights: run `git lfs pull`",
    b"<": "is a web page, not the weights: download the file itself",
    b"\x1f\x8b": "is an archive of gzip: unpack it",
    b"\x89HDF": "is an HDF5 file (of Keras?), which is not read",
}


def what_it_is(path: str | Path) -> str | None:
    """Recognise a file that is no checkpoint of torch, in words; None if it may be one.

    Args:
        path: A file that exists.
    """
    with open(path, "rb") as file:
        start = file.read(64)
    for sign, words in _STARTS.items():
        if start.lstrip().startswith(sign):
            return words
    if start[8:10] == b'{"' and Path(path).suffix != ".safetensors":
        return "is a safetensors file: give it the ending .safetensors"
    try:
        names = _names_in_archive(path)
    except Exception:
        # A damaged archive makes the reader fail in many ways, even where it is only recognised.
        return "is a damaged archive: copy it again"
    if names is not None:
        if any(name.endswith("/constants.pkl") for name in names):
            return "is a TorchScript program: save the state_dict of its module instead"
        if not any(name.endswith("data.pkl") for name in names):
            return "is a zip archive, not a checkpoint: unpack it"
    return None


def _names_in_archive(path: str | Path) -> list[str] | None:
    """Names of the files in a zip archive; None of what is none."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def to_plain(value: Any) -> Any:
    """Turn what ``torch.load(weights_only=True)`` refuses into plain Python.

    Args:
        value: Any nesting of containers. Numpy scalars become Python numbers, numpy arrays become
            lists, paths become strings; tensors stay as they are.

    Returns:
        The same nesting of plain values.

    Raises:
        TypeError: If a value cannot be saved without pickled code.
    """
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dict):
        return {to_plain(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        kind = type(value) if type(value) in (list, tuple, set) else list
        return kind(to_plain(item) for item in value)
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        return value
    if isinstance(value, (torch.Tensor, torch.dtype, torch.device)):
        return value
    raise TypeError(f"{type(value).__name__} cannot be saved without pickled code: {value!r:.80}")


def _first_line(error: Exception) -> str:
    # torch puts advice to unpickle the file all the same before the reason.
    reason = str(error).rpartition("WeightsUnpickler error:")[2]
    lines = reason.strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
