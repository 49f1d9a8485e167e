"""A disk that is full, read-only or not ours: one error that names the file, and nothing half."""

from __future__ import annotations

import errno
import os
import pickle
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from uniadapter.checkpoints import files
from uniadapter.datasets.feature_stores.writing import FeatureWriter
from uniadapter.utils import safe_io
from uniadapter.utils.errors import WriteError, disk_refuses, one_message
from uniadapter.utils.safe_io import AtomicLocalBackend, atomic_file, atomic_write

TENSORS = {"a": torch.arange(2000.0), "b": torch.ones(3)}


def _in_parts(path: Path) -> None:
    with atomic_file(path) as file:
        for _ in range(50):
            file.write(bytes(200))


#: All ways in which the package puts a file on the disk.
WRITERS: dict[str, Callable[[Path], Any]] = {
    "bytes": lambda path: atomic_write(path, bytes(10000)),
    "unsynced": lambda path: atomic_write(path, bytes(10000), sync=False),
    "file": _in_parts,
    "checkpoint": lambda path: AtomicLocalBackend().put(bytes(10000), path),
    "safetensors": lambda path: files.write(path, TENSORS),
    "torch": lambda path: files.write(path, TENSORS, under="model"),
    "features": lambda path: FeatureWriter(str(path.parent), "npz").write(
        "x", {path.stem: np.ones((90, 30), np.float32)}
    ),
}


class Limit:
    """The most bytes that a file of this process may have."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __enter__(self) -> None:
        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.before[1]))

    def __exit__(self, *error: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)


@settings(max_examples=draws(25, deep=300))
@given(name=st.sampled_from(sorted(WRITERS)), size=st.integers(0, 8000), old=st.booleans())
def test_a_file_that_finds_no_room(
    name: str, size: int, old: bool, tmp_path_factory: pytest.TempPathFactory
):
    path = tmp_path_factory.mktemp("full") / "x.npz"
    if old:
        path.write_bytes(b"old")
    with Limit(size), pytest.raises(WriteError) as error:
        WRITERS[name](path)
    assert str(error.value).startswith(f"{path} can't be written (")
    assert os.listdir(path.parent) == (["x.npz"] if old else [])
    assert not old or path.read_bytes() == b"old"
    WRITERS[name](path)
    assert len(path.read_bytes()) > 3


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_what_the_system_says_last(
    number: int, step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(safe_io.os, step, fail)
    with pytest.raises(WriteError, match=r"x can't be written \(.*\): \w+") as error:
        atomic_write(tmp_path / "x", b"new")
    monkeypatch.undo()
    assert error.value.errno == number
    assert os.listdir(tmp_path) == []
    again = pickle.loads(pickle.dumps(error.value))
    assert str(again) == str(error.value)


def test_a_file_where_a_folder_is_needed(tmp_path: Path):
    (tmp_path / "x").touch()
    with pytest.raises(WriteError, match=r"x/y/z can't be written \(.*x.*: a file stands where"):
        atomic_write(tmp_path / "x" / "y" / "z", b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(WriteError, match=r"folder can't be written \(Is a directory\): it is a"):
        atomic_write(tmp_path / "folder", b"")


def test_another_file_keeps_its_own_error(tmp_path: Path):
    with (
        pytest.raises(FileNotFoundError, match="gone"),
        atomic_file(tmp_path / "x") as file,
        open(tmp_path.parent / "elsewhere" / "gone", "rb") as other,
    ):
        file.write(other.read())
    assert os.listdir(tmp_path) == []


def test_commands_end_with_one_message():
    full = WriteError("x", OSError(errno.ENOSPC, "No space left"))
    for error in (full, PermissionError(13, "x")):
        assert disk_refuses(error)
        with pytest.raises(SystemExit, match=r"^error: .*: \w+"), one_message():
            raise error
    with pytest.raises(OSError, match="odd"), one_message():
        raise OSError("odd")


NOBODY = 65534


@pytest.mark.skipif(os.getuid() != 0, reason="takes another user's rights")
@pytest.mark.parametrize("name", ["x", "inner/x"])
def test_a_folder_of_somebody_else(name: str, tmp_path: Path):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            atomic_write(tmp_path / name, b"new")
        except WriteError as error:
            said = str(error)
            status = 0 if said.endswith(": make it writable, or name another place.") else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert os.listdir(tmp_path) == []
