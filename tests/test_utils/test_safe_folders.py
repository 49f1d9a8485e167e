"""Files that stand together are of one process, whatever the others do at the same moment."""

from __future__ import annotations

import errno
import json
import os
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.at_once import at_once
from tests.helpers import draws
from tests.kills import DISK, in_child, killed
from tests.test_utils.test_full_disk import Limit
from uniadapter.utils.errors import WriteError
from uniadapter.utils.safe_folders import create_file, new_folder, staged_folder
from uniadapter.utils.safe_io import atomic_write

PARTS = ("a", "b", "c")


def write_parts(folder: Path, content: bytes) -> None:
    with staged_folder(folder) as inside:
        for name in PARTS:
            atomic_write(inside / name, content, sync=False)


def many_times(folder: Path, contents: list[bytes]) -> None:
    for content in contents:
        write_parts(folder, content)


HEAD = "head.json"
_FILES = st.dictionaries(st.sampled_from(["a", "x", "z"]), st.binary(max_size=3), max_size=3)


def write_set(folder: Path, files: dict[str, bytes], options: int) -> None:
    """Write files and a head that says nothing of what is in them."""
    with staged_folder(folder, HEAD) as inside:
        for name, content in files.items():
            atomic_write(inside / name, content)
        atomic_write(inside / HEAD, json.dumps({"names": sorted(files), "to": options}).encode())


def read_set(folder: Path) -> tuple[dict[str, bytes], int] | None:
    """What a reader finds, who begins with the head; None where there is none."""
    if not (folder / HEAD).is_file():
        return None
    head = json.loads((folder / HEAD).read_bytes())
    return {name: (folder / name).read_bytes() for name in head["names"]}, head["to"]


@settings(max_examples=draws(8, deep=400))
@given(
    old=st.none() | st.tuples(_FILES, st.integers(0, 1)),
    new=st.tuples(_FILES, st.integers(0, 1)),
    at=st.integers(0, 22),
    after=st.booleans(),
)
def test_a_killed_process_leaves_no_mix(
    old: tuple[dict[str, bytes], int] | None,
    new: tuple[dict[str, bytes], int],
    at: int,
    after: bool,
    tmp_path_factory: pytest.TempPathFactory,
):
    folder = tmp_path_factory.mktemp("set") / "folder"
    if old is not None:
        write_set(folder, *old)
    killed(lambda: write_set(folder, *new), at, after)
    assert read_set(folder) in (old, new, None)
    write_set(folder, *new)
    assert read_set(folder) == new
    assert not list(folder.glob(".*"))


@settings(max_examples=draws(8, deep=400))
@given(
    old=st.tuples(_FILES, st.integers(0, 1)),
    new=st.tuples(_FILES, st.integers(0, 1)),
    at=st.integers(0, 22),
    point=st.sampled_from([point for point in DISK if point[0] is os]),
)
def test_an_error_at_any_step_leaves_what_was(
    old: tuple[dict[str, bytes], int],
    new: tuple[dict[str, bytes], int],
    at: int,
    point: tuple[Any, str],
    tmp_path_factory: pytest.TempPathFactory,
):
    folder = tmp_path_factory.mktemp("set") / "folder"
    write_set(folder, *old)
    calls, original = 0, getattr(*point)

    def full_once(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at + 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(*point, full_once)
        said = ""
        try:
            write_set(folder, *new)
        except WriteError as error:
            said = str(error)
    assert not said or (said.startswith(str(folder)) and ".tmp" not in said)
    assert read_set(folder) == (old if said else new)
    assert not list(folder.glob(".*")) or point[1] in ("unlink", "rmdir")


def test_a_folder_in_the_place_of_a_file(tmp_path: Path):
    write_set(tmp_path, {"a": b"old"}, 0)
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "mine").touch()
    with pytest.raises(WriteError, match=r"z can't be written \(Is a directory\)"):
        write_set(tmp_path, {"a": b"new", "z": b"new"}, 1)
    assert read_set(tmp_path) == ({"a": b"old"}, 0)
    assert os.listdir(tmp_path / "z") == ["mine"]


def test_two_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """On some disks of networks nobody waits: another one may move the head first."""
    write_set(tmp_path, {"a": b"1"}, 0)
    replace, taken = os.replace, []

    def other_first(source: Any, target: Any) -> None:
        if Path(source) == tmp_path / HEAD and not taken:
            taken.append(replace(source, tmp_path / "theirs"))
        replace(source, target)

    monkeypatch.setattr(os, "replace", other_first)
    write_set(tmp_path, {"a": b"2"}, 1)
    assert len(taken) == 1
    assert read_set(tmp_path) == ({"a": b"2"}, 1)


def test_what_stays_is_not_disturbed(tmp_path: Path):
    """Readers of what is written again, unchanged, find it at all times."""
    write_set(tmp_path, {"a": b"same", "x": b""}, 0)
    before = {path.name: path.stat().st_ino for path in tmp_path.iterdir()}
    write_set(tmp_path, {"a": b"same", "x": b""}, 0)
    assert {path.name: path.stat().st_ino for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("fails", [0, 1, 2])
def test_a_folder_that_is_replaced(fails: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whatever step fails, one of the two is there, whole, and nothing besides."""
    target, replace, steps = tmp_path / "folder", os.replace, []

    def step(*args: Any) -> None:
        steps.append(args)
        if len(steps) == fails:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(*args)

    with new_folder(target, replace=True) as inside:
        (inside / "old").touch()
    monkeypatch.setattr(os, "replace", step)
    refused = pytest.raises(WriteError, match="can't be written") if fails else nullcontext()
    with refused, new_folder(target, replace=True) as inside:
        (inside / "new").touch()
    assert [path.name for path in target.iterdir()] == ["old" if fails else "new"]
    assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.parametrize("after", [False, True])
def test_a_new_folder_is_whole_or_absent(after: bool, tmp_path: Path):
    def write() -> None:
        with new_folder(tmp_path / "folder") as inside:
            atomic_write(inside / "a", b"1")
            atomic_write(inside / "b", b"2")

    at, more = 0, True
    while more:
        more = killed(write, at, after)
        if (tmp_path / "folder").exists():
            assert sorted(os.listdir(tmp_path / "folder")) == ["a", "b"]
            os.rename(tmp_path / "folder", tmp_path / f"{at}")
        at += 1
    assert in_child(write) == 0
    assert not list(tmp_path.glob(".*"))


_SETS = st.lists(st.binary(max_size=50), min_size=1, max_size=8)


@settings(max_examples=draws(3, deep=200))
@given(contents=st.lists(_SETS, min_size=2, max_size=3))
def test_a_folder_is_of_one_process(
    contents: list[list[bytes]], tmp_path_factory: pytest.TempPathFactory
):
    folder = tmp_path_factory.mktemp("parts") / "new" / "folder"
    at_once(*(partial(many_times, folder, own) for own in contents))
    assert sorted(os.listdir(folder)) == list(PARTS)
    [whole] = {(folder / name).read_bytes() for name in PARTS}
    assert whole in [own[-1] for own in contents]


@settings(max_examples=draws(2, deep=200))
@given(contents=st.lists(st.binary(max_size=50), min_size=2, max_size=4, unique=True))
def test_a_file_is_made_by_one_process(
    contents: list[bytes], tmp_path_factory: pytest.TempPathFactory
):
    path = tmp_path_factory.mktemp("made") / "new" / "x"

    def make(content: bytes) -> bytes | None:
        return content if create_file(path, content) else None

    found = at_once(*(partial(make, content) for content in contents))
    assert [content for content in found if content is not None] == [path.read_bytes()]
    assert os.listdir(path.parent) == ["x"]


@pytest.mark.parametrize("old", [True, False])
def test_an_error_changes_nothing(old: bool, tmp_path: Path):
    folder = tmp_path / "new" / "folder"
    if old:
        write_parts(folder, b"old")

    def failing() -> None:
        with staged_folder(folder) as inside:
            (inside / "a").write_bytes(b"half")
            raise KeyError("a")

    with pytest.raises(KeyError):
        failing()
    with (
        Limit(20),
        pytest.raises(WriteError, match=r"new/folder/a can't be written \(.*raise") as e,
    ):
        write_parts(folder, bytes(30))
    assert e.value.errno is not None
    if old:
        assert [(folder / name).read_bytes() for name in sorted(os.listdir(folder))] == [b"old"] * 3
    else:
        assert os.listdir(tmp_path) == []
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match=r"file/x can't be written \(.*a file stands where"):
        write_parts(tmp_path / "file" / "x", b"")
