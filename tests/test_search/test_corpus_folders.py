"""A corpus and the folder that its index is made of: moved, renamed, changed, or another one."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from tests.search_helpers import RATE, StubEngine, content_of, write_frames, write_picture
from uniadapter.cli.commands import index as command
from uniadapter.search.corpus import CorpusEncoder, CorpusOptions, digest_of_units
from uniadapter.search.corpus_items import find_units
from uniadapter.search.from_parquet import index_from_parquet
from uniadapter.search.index import SearchIndex
from uniadapter.search.reading import ReadOptions
from uniadapter.search.update import update_index

pytest.importorskip("pyarrow")

READING = ReadOptions(shot_seconds=2.0, frame_rate=RATE)
NAMES = ("a.png", "b/a.png", "b/c.png", "b/clip", "d e#.png")


def encode(out: Path, *sources: str) -> None:
    units = find_units(list(sources), 2, frames=True)
    options = CorpusOptions(
        str(out), len(units), digest_of_units(units), READING, sources=tuple(sources)
    )
    reports = CorpusEncoder(options, StubEngine)({"unit": units})["report"]
    assert not any(json.loads(str(report))["faults"] for report in reports)


def make(folder: Path) -> Path:
    for number, name in enumerate(NAMES):
        (write_picture if name.endswith(".png") else _clip)(folder / name, number)
    return folder


def _clip(path: Path, seed: int) -> None:
    write_frames(path, seed, 7)


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of media and the corpus of it."""
    place = tmp_path_factory.mktemp("encoded")
    make(place / "media")
    encode(place / "out", str(place / "media"))
    return place


def known_by_content(index: SearchIndex) -> dict[str, Any]:
    """Files by their paths, without times of change."""
    return {
        path: (facts[:2], facts[3:], shots) for path, (facts, shots) in content_of(index).items()
    }


def bytes_of(path: Path) -> tuple[bool, bytes]:
    """Whether it is a folder of frames, which one with a picture left in it is, and its content."""
    inside = sorted(path.iterdir()) if path.is_dir() else [path]
    return path.is_dir(), b"".join(one.read_bytes() for one in inside)


def change(path: Path, how: str) -> None:
    if how == "gone":
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    elif how == "renamed":
        path.rename(path.with_name(f"new {path.name}"))
    elif how == "touched":
        for one in path.iterdir() if path.is_dir() else [path]:
            os.utime(one, ns=(1, 1))
    elif how == "copied" and path.is_dir():
        shutil.copytree(path, path.with_name("copy"))
    elif how == "copied":
        shutil.copy(path, path.with_name("copy.png"))
    elif how == "changed":
        (write_frames(path, 77, 3) if path.is_dir() else write_picture(path, 78))


CHANGES = ("same", "gone", "renamed", "touched", "copied", "changed")


@given(
    st.tuples(*[st.sampled_from(CHANGES)] * len(NAMES)),
    st.sampled_from([".", "..", "b"]),
    st.booleans(),
)
@settings(max_examples=draws(6), deadline=None)
def test_as_the_folder_is_now(
    encoded: Path,
    tmp_path_factory: pytest.TempPathFactory,
    changes: Any,
    seen_from: str,
    copy: bool,
) -> None:
    """The index has what an index of the folder has, as far as that was encoded."""
    place = tmp_path_factory.mktemp("now")
    moved = place / "elsewhere" / "moved"
    # Without their times of change, or with them.
    shutil.copytree(
        encoded / "media", moved, copy_function=shutil.copyfile if copy else shutil.copy2
    )
    known = {bytes_of(encoded / "media" / name) for name in NAMES}
    for name, how in zip(NAMES, changes, strict=True):
        change(moved / name, how)
    folder = Path(os.path.normpath(moved / seen_from))
    if not folder.is_dir():
        return
    plain, engine = SearchIndex.create(place / "plain", StubEngine(), READING, folder), StubEngine()
    update_index(plain, engine)
    expected = {
        path: facts
        for path, facts in known_by_content(plain).items()
        if bytes_of(folder / path) in known
    }
    if not expected:
        with pytest.raises(ValueError, match="none of its 5 files is in the folder"):
            index_from_parquet(encoded / "out", place / "index", StubEngine(), folder)
        assert not (place / "index").exists()
        return
    index = index_from_parquet(encoded / "out", place / "index", StubEngine(), folder)
    assert known_by_content(index) == expected
    after = StubEngine()
    update_index(index, after)
    assert known_by_content(index) == known_by_content(plain)
    # What was there is not encoded again.
    assert after.encoded == sum(
        len(facts[-1]) for path, facts in known_by_content(plain).items() if path not in expected
    )


def test_another_folder_is_refused_and_nothing_lost(
    encoded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same names, too: what is inside of the files counts."""
    monkeypatch.setattr(command, "engine_of", lambda *_: StubEngine())
    other = tmp_path / "other"
    for number, name in enumerate(NAMES):
        (write_picture if name.endswith(".png") else _clip)(other / name, 50 + number)
    index = SearchIndex.create(other / ".uniadapter", StubEngine(), READING)
    update_index(index, StubEngine())
    before = content_of(index)
    (tmp_path / "empty").mkdir()
    for folder in (other, tmp_path / "empty"):
        argv = [str(folder), "--from-parquet", str(encoded / "out"), "--model", "m", "--rebuild"]
        with pytest.raises(SystemExit) as refused:
            command.main(argv)
        said = str(refused.value)
        assert f"{encoded / 'out'} was encoded from {encoded / 'media'}, and none of its" in said
        assert f"is in the folder {folder}" in said
    assert content_of(SearchIndex.open(other)) == before
    assert not (tmp_path / "empty" / ".uniadapter").exists()


def test_what_is_gone_is_said(
    encoded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(command, "engine_of", lambda *_: StubEngine())
    shutil.copytree(encoded / "media", tmp_path / "media")
    (tmp_path / "media/a.png").unlink()
    write_picture(tmp_path / "media/b/c.png", 99)
    argv = [str(tmp_path / "media"), "--from-parquet", str(encoded / "out"), "--model", "m"]
    assert command.main(argv) == 0
    said = capsys.readouterr().out
    assert "3 files, 4 shots; nothing was encoded\n2 files of the corpus are not there" in said


def test_an_update_keeps_what_came_from_elsewhere(encoded: Path, tmp_path: Path) -> None:
    """Members of tars and addresses are no files of the folder, so that none of them is gone."""
    import tarfile

    folder = tmp_path / "media"
    write_picture(folder / "own.png", 70)
    with tarfile.open(folder / "some.tar", "w") as archive:
        archive.add(encoded / "media/a.png", "in/a.png")
    encode(tmp_path / "out", str(folder))
    index = index_from_parquet(tmp_path / "out", tmp_path / "index", StubEngine(), folder)
    before = content_of(index)
    assert set(before) == {"own.png", "some.tar/in/a.png"}
    # Unpacked the medium is there twice, and was encoded already.
    shutil.copy(encoded / "media/a.png", folder / "a.png")
    (folder / "own.png").unlink()
    summary = update_index(index, StubEngine())
    assert (summary.deleted, summary.copied, summary.encoded) == (1, 1, 0)
    assert set(content_of(index)) == {"a.png", "some.tar/in/a.png"}
    assert content_of(index)["some.tar/in/a.png"] == before["some.tar/in/a.png"]
