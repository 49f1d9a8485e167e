"""Files that stand together are of one process, whatever the others do at the same moment."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.at_once import at_once
from tests.helpers import draws
from tests.test_utils.test_full_disk import Limit
from uniadapter.utils.errors import WriteError
from uniadapter.utils.safe_folders import create_file, staged_folder
from uniadapter.utils.safe_io import atomic_write

PARTS = ("a", "b", "c")


def write_parts(folder: Path, content: bytes) -> None:
    with staged_folder(folder) as inside:
        for name in PARTS:
            atomic_write(inside / name, content, sync=False)


def many_times(folder: Path, contents: list[bytes]) -> None:
    for content in contents:
        write_parts(folder, content)


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
