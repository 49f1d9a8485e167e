from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from uniadapter.checkpoints.files import write
from uniadapter.utils import safe_io
from uniadapter.utils.safe_folders import check_place
from uniadapter.utils.safe_io import (
    AtomicLocalBackend,
    atomic_write,
    is_stream,
    load_torch_file,
    to_plain,
)


def test_atomic_write_replaces_and_leaves_no_temporary_file(tmp_path: Path):
    path = tmp_path / "new" / "file"
    atomic_write(path, b"one")
    atomic_write(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch, step: str):
    path = tmp_path / "file"
    atomic_write(path, b"old")

    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr(safe_io.os, step, fail)
    with pytest.raises(OSError, match="disk full"):
        atomic_write(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


NAMES = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1)


@settings(max_examples=draws(10, deep=200), deadline=None)
@given(start=NAMES, size=st.integers(1, 255))
def test_names_as_long_as_a_disk_takes(
    start: str, size: int, tmp_path_factory: pytest.TempPathFactory
):
    folder = tmp_path_factory.mktemp("long")
    name = (start * 255).encode()[:size].decode(errors="ignore")
    assume(name not in ("", ".", ".."))
    atomic_write(folder / name, b"1", sync=False)
    write(folder / name, {"a": torch.ones(1)})
    assert os.listdir(folder) == [name]


@settings(max_examples=draws(5, deep=100), deadline=None)
@given(content=st.binary(max_size=100), new=st.booleans())
def test_a_pipe_stays_one(content: bytes, new: bool, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("pipe")
    os.mkfifo(folder / "pipe")
    end = os.open(folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    check_place(folder / "pipe")
    atomic_write(folder / "pipe", content, sync=new)
    assert os.read(end, 200) == content
    os.close(end)
    assert os.listdir(folder) == ["pipe"]
    assert (folder / "pipe").is_fifo()


@pytest.mark.parametrize(
    ("path", "stream"),
    [
        ("/dev/null", True),
        ("/dev/stdout", True),
        ("/dev/fd/1", True),
        ("/proc/self/fd/1", True),
        ("/dev/shm", False),
        ("/dev/shm/a.json", False),
        ("a.json", False),
    ],
)
def test_what_is_a_stream(path: str, stream: bool):
    assert is_stream(path) == stream


def test_backend_writes_bytes_and_text(tmp_path: Path):
    backend = AtomicLocalBackend()
    backend.put(b"\x00", tmp_path / "bytes")
    backend.put_text("é", tmp_path / "text")
    assert (tmp_path / "bytes").read_bytes() == b"\x00"
    assert (tmp_path / "text").read_text(encoding="utf-8") == "é"


class Payload:
    """Would run code when unpickled."""

    def __reduce__(self):
        return (os.mkdir, ("should-not-exist",))


def test_load_refuses_pickled_code(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Payload()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match=r"evil\.pth is corrupt, or holds objects.*refused"):
        load_torch_file(tmp_path / "evil.pth")
    assert not (tmp_path / "should-not-exist").exists()


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99])
def test_load_names_a_truncated_file(tmp_path: Path, keep: float):
    path = tmp_path / "a.pth"
    torch.save({"a": torch.zeros(1000)}, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(ValueError, match=r"a\.pth is .*corrupt"):
        load_torch_file(path)


def test_load_names_a_missing_file(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"gone\.pth does not exist"):
        load_torch_file(tmp_path / "gone.pth")


def test_to_plain_makes_everything_loadable(tmp_path: Path):
    tensor = torch.ones(2)
    value = {
        np.str_("key"): np.float64(0.5),
        "array": np.arange(3),
        "nested": OrderedDict(a=(np.int64(1), [np.bool_(True)], {1, 2})),
        "path": Path("x"),
        "tensor": tensor,
        "none": None,
    }
    torch.save(to_plain(value), tmp_path / "plain.pth")
    loaded = load_torch_file(tmp_path / "plain.pth")
    assert loaded.pop("tensor").equal(tensor)
    assert loaded == {
        "key": 0.5,
        "array": [0, 1, 2],
        "nested": {"a": (1, [True], {1, 2})},
        "path": "x",
        "none": None,
    }


def test_to_plain_names_what_it_cannot_turn():
    with pytest.raises(TypeError, match="object cannot be saved"):
        to_plain({"a": object()})
