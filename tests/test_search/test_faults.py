"""Whatever ends an update, the index is whole, and the next update finishes it."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from tests.search_helpers import RATE, StubEngine, content_of, write_frames, write_picture
from uniadapter.search import store, update
from uniadapter.search.database import DATABASE, connect
from uniadapter.search.index import SearchIndex
from uniadapter.search.reading import ReadOptions
from uniadapter.search.store import RowWriter, locked
from uniadapter.search.update import UpdateOptions, update_index
from uniadapter.search.writer import IndexWriter

READING = ReadOptions(shot_seconds=2.0, frame_rate=RATE)


class KilledError(BaseException):
    """As if the process ended here."""


@contextmanager
def killed_at(moment: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """End at one of the points at which something is written; they are listed."""
    points: list[str] = []

    def point(name: str) -> None:
        points.append(name)
        if len(points) == moment:
            raise KilledError(name)

    def around(owner: type, name: str) -> Callable:
        wrapped = getattr(owner, name)

        def call(self, *args):
            point(f"before {name}")
            result = wrapped(self, *args)
            point(f"after {name}")
            return result

        return call

    def half(self, rows):
        point("before append")
        some = next(iter(self._files.values()))
        place = self.rows
        [name, *_] = self.layout.files()
        some.write(np.ascontiguousarray(rows[name], "<f4").tobytes()[:7])
        point("within append")
        # Not killed: the rows as they are to be.
        some.flush()
        shape, dtype = self.layout.files()[name]
        some.truncate(place * int(np.prod(shape)) * dtype.itemsize)
        some.seek(0, os.SEEK_END)
        return append(self, rows)

    append = RowWriter.append
    with monkeypatch.context() as patch:
        patch.setattr(RowWriter, "append", half)
        patch.setattr(RowWriter, "sync", around(RowWriter, "sync"))
        patch.setattr(IndexWriter, "_write", around(IndexWriter, "_write"))
        patch.setattr(update, "COMMIT_SECONDS", -1.0)
        yield points


def before(root: Path) -> None:
    for number in range(3):
        write_picture(root / f"p{number}.png", number)
    write_frames(root / "clip", 1, 5)
    write_frames(root / "gone", 2, 4)


def changed(root: Path) -> None:
    (root / "p0.png").rename(root / "moved.png")
    shutil.copy(root / "p1.png", root / "copy.png")
    write_picture(root / "p2.png", 22)
    write_picture(root / "p9.png", 9)
    shutil.rmtree(root / "gone")
    write_frames(root / "new", 4, 7)
    (root / "broken.png").write_bytes(b"no picture")


def indexed(root: Path, place: Path, engine: StubEngine) -> SearchIndex:
    index = SearchIndex.create(place, engine, READING, root)
    update_index(index, engine)
    return index


def test_killed_at_every_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root, engine = tmp_path / "media", StubEngine()
    options = UpdateOptions(compact=True, batch_size=3)
    before(root)
    start = tmp_path / "start"
    former = content_of(indexed(root, start, engine))
    changed(root)
    final = content_of(indexed(root, tmp_path / "final", engine))
    allowed = {path: {repr(former.get(path)), repr(final.get(path))} for path in {*former, *final}}
    for moment in range(1, 1000):
        place = tmp_path / f"at{moment}"
        shutil.copytree(start, place)
        index = SearchIndex.open(place)
        with killed_at(moment, monkeypatch) as points:
            try:
                update_index(index, engine, options)
                ended = False
            except KilledError:
                ended = True
        # Whole: every file is as it was, or as it is, or not there yet.
        seen = content_of(SearchIndex.open(place))
        for path, known in seen.items():
            assert repr(known) in allowed[path], (moment, points[-1], path)
        update_index(index, engine, options)
        assert content_of(index) == final, (moment, points[-1])
        shutil.rmtree(place)
        if not ended:
            break
    assert moment > 25
    assert {"within append", "after sync", "before _write", "after _write"} <= set(points)


def run_update(place: Path, workers: int) -> None:
    update.COMMIT_SECONDS = 0.0
    engine = StubEngine()
    update_index(SearchIndex.open(place), engine, UpdateOptions(workers=workers, batch_size=2))


@given(st.floats(0, 1), st.sampled_from([0, 2]))
@settings(max_examples=draws(2, 20), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_process_that_is_killed(tmp_path: Path, share: float, workers: int):
    root, engine = tmp_path / "media", StubEngine()
    if not root.exists():
        before(root)
        changed(root)
    final = content_of(indexed(root, tmp_path / "final", engine))
    place = tmp_path / "killed"
    SearchIndex.create(place, engine, READING, root)
    begin = time.monotonic()
    for pause in (None, share):
        process = multiprocessing.get_context("fork").Process(
            target=run_update, args=(place, workers)
        )
        process.start()
        if pause is None:
            process.join()
            spent = time.monotonic() - begin
            SearchIndex.create(place, engine, READING, root)
        else:
            time.sleep(pause * spent)
            os.kill(process.pid, signal.SIGKILL)
            process.join()
    index = SearchIndex.open(place)
    seen = content_of(index)
    assert seen.items() <= final.items()
    update_index(index, engine)
    assert content_of(index) == final


def test_one_writes_and_others_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store, "_LOCK_SECONDS", 0.1)
    engine = StubEngine()
    before(tmp_path / "media")
    index = indexed(tmp_path / "media", tmp_path / "index", engine)
    with locked(index.folder):
        with pytest.raises(BlockingIOError, match=f"another process \\({os.getpid()}\\)"):
            update_index(index, engine)
        assert len(index.snapshot().shot_rows) == len(index.shots())
    update_index(index, engine)


def test_a_full_disk_and_a_place_that_cant_be_written(tmp_path: Path, monkeypatch):
    engine, root = StubEngine(), tmp_path / "media"
    before(root)
    index = indexed(root, tmp_path / "index", engine)
    known = content_of(index)
    write_picture(root / "p7.png", 7)

    def full(self):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(RowWriter, "sync", full)
        with pytest.raises(OSError, match=r"can't be written to: No space left.*goes on"):
            update_index(index, engine)
        with pytest.raises(OSError, match="No space left"):
            update_index(index, engine, UpdateOptions(compact=True))
    assert content_of(index) == known
    update_index(index, engine)
    assert set(content_of(index)) == {*known, "p7.png"}
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        SearchIndex.create(tmp_path / "file" / "index", engine)


_SET = "INSERT OR REPLACE INTO meta VALUES (?, ?)"


def test_damaged_and_foreign_indexes(tmp_path: Path):
    engine, root = StubEngine(), tmp_path / "media"
    before(root)
    index = indexed(root, tmp_path / "index", engine)
    known, version = content_of(index), index.version
    [features] = index.folder.glob("features.*.bin")
    os.truncate(features, features.stat().st_size - 1)
    with pytest.raises(ValueError, match=r"features.*--rebuild"):
        index.snapshot()
    with pytest.raises(ValueError, match=r"features.*--rebuild"):
        update_index(index, engine)
    assert content_of(indexed(root, index.folder, engine)) == known
    assert SearchIndex.open(index.folder).version > version
    with connect(index.folder) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(ValueError, match="has the layout 99"):
        SearchIndex.open(index.folder)
    assert content_of(indexed(root, index.folder, engine)) == known
    for key in ("state", "settings"):
        for value in (
            "[" * 100_000,
            "{",
            "[]",
            "{}",
            '{"layout": 3, "more": 1}',
            b"\xff\x00",
            None,
        ):
            with connect(index.folder) as database:
                former = "SELECT value FROM meta WHERE key = ?"
                [text] = database.execute(former, (key,)).fetchone()
                database.execute(_SET, (key, "" if value is None else value))
                if value is None:
                    database.execute("DELETE FROM meta WHERE key = ?", (key,))
            with pytest.raises(ValueError, match=r"damaged.*its \w+ can't be read.*--rebuild"):
                SearchIndex.open(index.folder).snapshot()
            with connect(index.folder) as database:
                database.execute(_SET, (key, text))
    (index.folder / DATABASE).write_bytes(b"nothing that is known" * 99)
    with pytest.raises(ValueError, match=r"damaged.*--rebuild"):
        SearchIndex.open(index.folder)
    assert content_of(indexed(root, index.folder, engine)) == known
    other = tmp_path / "other"
    other.mkdir()
    with sqlite3.connect(other / DATABASE) as foreign:
        foreign.execute("CREATE TABLE mine (a)")
    foreign.close()
    for act in (SearchIndex.open, lambda place: SearchIndex.create(place, engine)):
        with pytest.raises(ValueError, match="no index of this package"):
            act(other)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / DATABASE).write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="no index yet"):
        SearchIndex.open(tmp_path / "begun")
    with pytest.raises(FileNotFoundError, match="uniadapter index"):
        SearchIndex.open(tmp_path / "none")


NAMES = [b"it's; DROP TABLE files --.png", b'"q".png', b"line\nbreak.png", b"\xff\xfe.png"]
NAMES += ["\N{SNOWMAN} \U0001f600.png".encode(), b"%3F?x=1&y.png", b"a.PNG", b" .png"]


def test_names_of_all_kinds(tmp_path: Path):
    root, engine = tmp_path / "me?dia%20 \udcff", StubEngine()
    (root / "below").mkdir(parents=True)
    write_picture(tmp_path / "one.png", 1)
    for place in (root, root / "below"):
        for name in NAMES:
            shutil.copy(tmp_path / "one.png", os.path.join(os.fsencode(place), name))
    os.symlink(tmp_path / "one.png", root / "outward.png")
    os.symlink("a.PNG", root / "inward.png")
    os.symlink(root / "below", root / "link")
    os.symlink("nowhere", root / "broken.png")
    os.mkfifo(root / "pipe.png")
    (root / ".hidden").mkdir()
    shutil.copy(tmp_path / "one.png", root / ".hidden/one.png")
    (root / "notes.txt").write_text("no medium")
    index = SearchIndex.create(root / ".uniadapter", engine)
    assert update_index(index, engine).unreadable == {}
    expected = sorted([*NAMES, *(b"below/" + name for name in NAMES), b"inward.png"])
    assert [os.fsencode(file.path) for file in index.files()] == expected
    assert all(index.path_of(file.path).is_file() for file in index.files())
    # The folder with its index is elsewhere now.
    root.rename(tmp_path / "elsewhere")
    moved = SearchIndex.open(tmp_path / "elsewhere")
    assert moved.root == tmp_path / "elsewhere"
    assert update_index(moved, engine).unchanged == len(expected)
