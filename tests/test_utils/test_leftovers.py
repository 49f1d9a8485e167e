"""What a killed process had begun to write goes with the next write; all else stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.kills import in_child
from uniadapter.checkpoints.files import write
from uniadapter.utils import leftovers
from uniadapter.utils.leftovers import sweep, temporary_inside, temporary_path
from uniadapter.utils.safe_folders import staged_folder
from uniadapter.utils.safe_io import atomic_write

if not hasattr(os, "fork"):
    pytest.skip("needs processes that can be forked", allow_module_level=True)


def left_by_another(folder: Path, name: str = "x") -> list[str]:
    """A file and a folder of a process that has ended; their names."""

    def leave() -> None:
        temporary_path(folder / name).write_bytes(b"half")
        temporary_inside(folder).mkdir()

    before = set(os.listdir(folder))
    assert in_child(leave) == 0
    return sorted(set(os.listdir(folder)) - before)


@pytest.mark.parametrize("name", ["x", "x" * 255, "\xe4" * 120, "a.b c"])
def test_a_killed_process(name: str, tmp_path: Path):
    left = left_by_another(tmp_path, name)
    assert len(left) == 2
    sweep(tmp_path)
    [folder] = os.listdir(tmp_path)
    assert (tmp_path / folder).is_dir()
    sweep(tmp_path, folders=True)
    assert os.listdir(tmp_path) == []
    sweep(tmp_path / "none", folders=True)


def test_the_living_and_strangers_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mine = [temporary_path(tmp_path / "x"), temporary_inside(tmp_path)]
    parent = temporary_path(tmp_path / "y").name.replace(f".{os.getpid()}.", f".{os.getppid()}.")
    (tmp_path / parent).touch()
    mine[0].touch()
    mine[1].mkdir()
    # Names as other programs have them, and those of versions before.
    others = [".x.123456789.tmp", ".x.99999999.0123abcd.tmp", "x.tmp", ".99999999.tmp", ".x.swp"]
    for name in others:
        (tmp_path / name).touch()
    with monkeypatch.context() as patch:
        # Of a host that the numbers of processes here say nothing of.
        patch.setattr(leftovers, "_place", lambda pid: "0" * 8)
        left_by_another(tmp_path)
    before = sorted(os.listdir(tmp_path))
    assert len(before) == len(others) + 5
    sweep(tmp_path, folders=True)
    assert sorted(os.listdir(tmp_path)) == before


def test_a_process_of_somebody_else_is_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    left = left_by_another(tmp_path)

    def refuse(pid: int, signal: int) -> None:
        raise PermissionError(1, "not yours")

    monkeypatch.setattr(leftovers.os, "kill", refuse)
    sweep(tmp_path, folders=True)
    assert sorted(os.listdir(tmp_path)) == left


def test_a_process_that_nothing_is_known_of_may_be_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Containers without /proc may have one name, and each its own numbers of processes."""

    def hidden(path: str) -> str:
        raise FileNotFoundError(2, "No such file or directory", path)

    monkeypatch.setattr(leftovers.os, "readlink", hidden)
    leftovers._place.cache_clear()
    left = left_by_another(tmp_path)
    sweep(tmp_path, folders=True)
    assert sorted(os.listdir(tmp_path)) == left
    leftovers._place.cache_clear()


def test_a_link_is_not_followed(tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x").touch()
    (tmp_path / "folder").mkdir()
    for name in left_by_another(tmp_path / "folder"):
        place = tmp_path / "folder" / name
        place.rmdir() if place.is_dir() else place.unlink()
        place.symlink_to(tmp_path / "elsewhere")
    sweep(tmp_path / "folder", folders=True)
    assert os.listdir(tmp_path / "folder") == []
    assert os.listdir(tmp_path / "elsewhere") == ["x"]


def test_many_small_files_look_once(tmp_path: Path):
    atomic_write(tmp_path / "a", b"", sync=False)
    left_by_another(tmp_path)
    atomic_write(tmp_path / "b", b"", sync=False)
    assert len(os.listdir(tmp_path)) == 4
    atomic_write(tmp_path / "b", b"")
    assert len(os.listdir(tmp_path)) == 3


def _staged(folder: Path) -> None:
    with staged_folder(folder) as inside:
        (inside / "x").touch()


@pytest.mark.parametrize(
    "writer",
    [
        lambda folder: atomic_write(folder / "x", b""),
        lambda folder: write(folder / "x", {}, under="model"),
        lambda folder: write(folder / "x", {}),
        _staged,
    ],
)
def test_the_next_write_removes_it(writer: object, tmp_path: Path):
    left_by_another(tmp_path)
    writer(tmp_path)  # type: ignore[operator]
    found = sorted(os.listdir(tmp_path))
    assert found[-1] == "x"
    assert all((tmp_path / name).is_dir() for name in found[:-1])
    assert len(found) == (1 if writer is _staged else 2)
