"""Damage in the files of an index is found by `--check`, and named."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from tests.search_helpers import RATE, StubEngine, content_of, write_frames, write_picture
from uniadapter.cli.commands import index as command
from uniadapter.search.check import check_index
from uniadapter.search.database import DATABASE
from uniadapter.search.index import SearchIndex
from uniadapter.search.reading import ReadOptions
from uniadapter.search.update import UpdateOptions, update_index

READING = ReadOptions(2.0, RATE)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an index that was updated, so that some of its rows are dead."""
    root = tmp_path_factory.mktemp("checked") / "media"
    for number in range(4):
        write_picture(root / f"{number}.png", number)
    write_frames(root / "clip", 9, 7)
    index = SearchIndex.create(root / ".uniadapter", StubEngine(), READING)
    update_index(index, StubEngine())
    (root / "0.png").rename(root / "moved.png")
    shutil.copy(root / "1.png", root / "copy.png")
    write_picture(root / "2.png", 22)
    (root / "3.png").unlink()
    update_index(index, StubEngine())
    return root


@pytest.mark.parametrize("reranks", [True, False])
def test_what_is_whole_passes_and_stays_so(tmp_path: Path, reranks: bool) -> None:
    write_picture(tmp_path / "media/a.png", 1)
    write_frames(tmp_path / "media/clip", 9, 7)
    engine = StubEngine(reranks)
    index = SearchIndex.create(tmp_path / "index", engine, READING, tmp_path / "media")
    assert check_index(index) == (0, 0)
    update_index(index, engine)
    assert check_index(index) == (3, 0)


@given(st.sampled_from(["features", "frames", "tokens"]), st.floats(0, 1), st.integers(1, 255))
@settings(max_examples=draws(4, 200), deadline=None)
def test_a_byte_that_changed_is_found(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, name: str, place: float, flip: int
) -> None:
    root = tmp_path_factory.mktemp("damaged") / "media"
    shutil.copytree(whole, root)
    index = SearchIndex.open(root)
    # After a compaction, too: rows are elsewhere then, and none is dead.
    update_index(index, StubEngine(), UpdateOptions(compact=True))
    assert check_index(index) == (6, 0)
    snapshot = index.snapshot()
    [path] = index.folder.glob(f"{name}.*.bin")
    content = bytearray(path.read_bytes())
    at = min(int(place * len(content)), len(content) - 1)
    content[at] ^= flip
    path.write_bytes(content)
    row = at * snapshot.state.rows // len(content)
    [shot] = [n for n, own in enumerate(snapshot.shot_rows) if own == row]
    of = snapshot.files[int(snapshot.shot_files[shot])].path
    with pytest.raises(ValueError, match="--rebuild") as found:
        check_index(index)
    assert f"written: {path} (shots: 1, the first of {of})" in str(found.value)


def test_the_command(whole: Path, tmp_path: Path, capsys: Any) -> None:
    root = tmp_path / "media"
    shutil.copytree(whole, root)
    assert command.main([str(root), "--check"]) == 0
    assert "7 shots are as they were written\n" in capsys.readouterr().out
    for more in (["--rebuild"], ["--model", "m"], ["--batch-size", "2"], ["--from-parquet", "x"]):
        with pytest.raises(SystemExit, match=f"{more[0]} is of an update, and --check only reads"):
            command.main([str(root), "--check", *more])
    with pytest.raises(SystemExit, match="has no index"):
        command.main([str(tmp_path), "--check"])
    index = SearchIndex.open(root)
    [features] = index.folder.glob("features.*.bin")
    content = features.read_bytes()
    features.write_bytes(content[:-1])
    with pytest.raises(SystemExit, match=rf"{features} has \d+ of \d+ bytes.*--rebuild"):
        command.main([str(root), "--check"])
    features.write_bytes(b"\0" * len(content))
    with pytest.raises(SystemExit, match=rf"{features} \(shots: 7, the first of .*--rebuild"):
        command.main([str(root), "--check"])


def test_an_index_of_an_earlier_version(whole: Path, tmp_path: Path, capsys: Any) -> None:
    """It has no checksums; what is added gets some."""
    root = tmp_path / "media"
    shutil.copytree(whole, root)
    with sqlite3.connect(root / ".uniadapter" / DATABASE) as database:
        database.execute("ALTER TABLE shots DROP COLUMN sums")
    database.close()
    index = SearchIndex.open(root)
    before = content_of(index)
    assert check_index(index) == (0, 7)
    write_picture(root / "new.png", 55)
    update_index(index, StubEngine())
    assert before.items() <= content_of(index).items()
    assert command.main([str(root), "--check"]) == 0
    assert "1 shots are as they were written; 7 more have no checksum" in capsys.readouterr().out
