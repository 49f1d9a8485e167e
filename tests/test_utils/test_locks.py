"""Locks of files, and disks that have none."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

import pytest

from uniadapter.search.store import locked
from uniadapter.utils import locks
from uniadapter.utils.locks import lock_file
from uniadapter.utils.safe_folders import create_file, staged_folder
from uniadapter.utils.safe_io import atomic_write

# What NFS, FUSE and others say.
WITHOUT = [errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF, errno.ENOSYS, errno.EISDIR]


def test_one_has_it(tmp_path: Path):
    with open(tmp_path / "x", "w") as first, open(tmp_path / "x", "w") as second:
        assert lock_file(first)
        with pytest.raises(BlockingIOError):
            lock_file(second, wait=False)
        first.close()
        assert lock_file(second, wait=False)


@pytest.mark.parametrize("number", [*WITHOUT, None])
def test_a_disk_without_locks(
    number: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    def refuse(*_):
        raise OSError(number, os.strerror(number or 0))

    if number is None:
        monkeypatch.setattr(locks, "fcntl", None)
    else:
        monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with staged_folder(tmp_path) as inside:
        atomic_write(inside / "a", b"1")
    assert create_file(tmp_path / "b", b"2")
    assert not create_file(tmp_path / "b", b"3")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
    with caplog.at_level(logging.WARNING), locked(tmp_path):
        assert "no locks" in caplog.text


def test_a_folder_that_may_be_written_to_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # As root any folder may be read.
    def refuse(*arguments):
        raise PermissionError(errno.EACCES, "Permission denied", str(arguments[0]))

    with staged_folder(tmp_path) as inside:
        atomic_write(inside / "a", b"1")
        monkeypatch.setattr("uniadapter.utils.safe_folders.os.open", refuse)
        monkeypatch.setattr("uniadapter.utils.safe_folders.shutil.rmtree", lambda *_, **__: None)
    assert (tmp_path / "a").read_bytes() == b"1"
