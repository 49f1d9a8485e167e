"""An index follows its folder, encodes nothing twice, and survives whatever ends it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.search_helpers import RATE, StubEngine, content_of, write_frames, write_picture
from uniadapter.datasets import MediaError
from uniadapter.search.index import SearchIndex
from uniadapter.search.reading import ReadOptions
from uniadapter.search.update import UpdateOptions, update_index
from uniadapter.search.writer import FileEntry, writing

READING = ReadOptions(shot_seconds=2.0, frame_rate=RATE)


def made(folder: Path, engine: StubEngine, place: Path | None = None) -> SearchIndex:
    return SearchIndex.create(place or folder / ".uniadapter", engine, READING, folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "media"
    for number in range(4):
        write_picture(root / "pictures" / f"{number}.png", number)
    # A folder with others below it is none of frames.
    (root / "pictures" / "more").mkdir()
    write_frames(root / "clips" / "long", 1, 11)
    write_frames(root / "clips" / "short", 2, 3)
    return root


def test_a_folder_is_indexed_and_followed(folder: Path):
    engine = StubEngine()
    index = made(folder, engine)
    done: list[tuple[int, int]] = []
    first = update_index(index, engine, progress=lambda *step: done.append(step))
    # 11 frames at two a second are 5.5 seconds: shots of 2, 2 and 1.5 seconds.
    assert (first.new, first.encoded, first.shots, first.files) == (6, 4 + 3 + 1, 8, 6)
    assert done == [(number, 6) for number in range(7)]
    assert [file.path for file in index.files()] == sorted(file.path for file in index.files())
    long = next(file for file in index.files() if file.path == "clips/long")
    assert [shot[3:] for shot in index.shots(long.file_id)] == [(0, 2), (2, 4), (4, 5.5)]
    snapshot = index.snapshot()
    row = index.shots(long.file_id)[1].row
    # The middles of two halves of the frames 4 to 7.
    assert snapshot.times(row).tolist() == [0.5, 1.5]
    assert index.tokens([index.shots()[0].shot_id]).shape == (1, 2, 3, 5)
    version = index.version
    again = update_index(index, engine)
    assert (again.unchanged, again.encoded, index.version) == (6, 0, version)

    before, encoded = content_of(index), engine.encoded
    (folder / "pictures/0.png").rename(folder / "moved.png")
    (folder / "clips/long").rename(folder / "clips/longer")
    os.utime(folder / "pictures/1.png", ns=(1, 1))
    (folder / "pictures/2.png").unlink()
    shutil.copy(folder / "pictures/3.png", folder / "pictures/4.png")
    second = update_index(index, engine)
    assert (second.moved, second.touched, second.deleted, second.copied) == (2, 1, 1, 1)
    assert engine.encoded == encoded
    after = content_of(index)
    assert after["moved.png"][1] == before["pictures/0.png"][1]
    assert after["clips/longer"][1] == before["clips/long"][1]
    assert after["pictures/4.png"][1] == before["pictures/3.png"][1]
    assert set(after) == {
        "moved.png",
        *(f"pictures/{number}.png" for number in (1, 3, 4)),
        "clips/longer",
        "clips/short",
    }

    write_picture(folder / "pictures/1.png", 77)
    write_picture(folder / "pictures/2.png", 2)
    third = update_index(index, engine)
    # The second one is back as it was.
    assert (third.changed, third.encoded, third.touched, third.new) == (1, 1, 1, 0)
    assert content_of(index)["pictures/2.png"][1] == before["pictures/2.png"][1]

    (folder / "pictures/3.png").unlink()
    known = content_of(index) | {}
    del known["pictures/3.png"]
    fourth = update_index(index, engine, UpdateOptions(compact=True))
    assert fourth.compacted
    assert content_of(index) == known
    assert index.state().rows == len(index.shots()) == fourth.shots
    fresh = made(folder, engine, folder.parent / "fresh")
    update_index(fresh, engine)
    assert content_of(fresh) == content_of(index)


def test_workers_and_batches_change_nothing(folder: Path, tmp_path: Path):
    engine, contents = StubEngine(), []
    for number, (workers, batch) in enumerate([(0, 8), (2, 3)]):
        index = made(folder, engine, tmp_path / str(number))
        update_index(index, engine, UpdateOptions(workers=workers, batch_size=batch))
        contents.append(content_of(index))
        assert np.array_equal(index.snapshot().shot_rows, np.arange(8))
    assert contents[0] == contents[1]


def test_files_that_cant_be_read(folder: Path):
    engine = StubEngine()
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n")
    (folder / "empty.mp4").write_bytes(b"")
    index = made(folder, engine)
    first = update_index(index, engine)
    assert set(first.unreadable) == {"broken.png", "empty.mp4"}
    assert (first.new, first.files) == (8, 6)
    errors = {f.path: f.error for f in index.files(everything=True) if f.error}
    assert errors == first.unreadable
    assert "empty" in errors["empty.mp4"]
    assert not update_index(index, engine).unreadable
    assert set(update_index(index, engine, UpdateOptions(retry=True)).unreadable) == set(errors)
    write_picture(folder / "broken.png", 5)
    mended = update_index(index, engine)
    assert (mended.changed, mended.encoded, mended.unreadable) == (1, 1, {})
    (folder / "broken.png").write_bytes(b"no")
    with pytest.raises(MediaError, match=r"broken\.png"):
        update_index(index, engine, UpdateOptions(on_error="raise"))
    # Until it is known to be another one, the former stays.
    assert "broken.png" in content_of(index)


def test_what_was_changed_while_it_was_read_is_read_again(folder: Path):
    engine = StubEngine()
    index = made(folder, engine)
    update_index(index, engine)
    known = next(file for file in index.files() if file.path == "pictures/2.png")
    with writing(index) as writer:
        # As the content of an encoded corpus may be: of its former state, with the new time.
        fields = (b"pictures/2.png", known.kind, known.size, known.mtime_ns, None, None)
        writer.put(FileEntry(*fields), [])
        writer.commit()
    again = update_index(index, engine)
    assert (again.changed, again.encoded, again.unchanged) == (1, 1, 5)
    assert len(index.shots(known.file_id)) == 1


def test_an_index_that_was_made_anew_meanwhile(folder: Path):
    engine, plain = StubEngine(), StubEngine(reranks=False)
    index = made(folder, engine)
    fresh = made(folder, plain)
    with pytest.raises(ValueError, match="made anew by another process"):
        update_index(index, engine)
    assert update_index(fresh, plain).encoded == 8
    assert len(fresh.shots()) == 8


def test_a_file_that_changes_while_it_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch):
    engine = StubEngine()
    index = made(folder, engine)
    read = engine.reader.image_frames

    def changing(image):
        frames = read(image)
        if str(image).endswith("2.png"):
            write_picture(folder / "pictures/2.png", 50)
        return frames

    with monkeypatch.context() as patch:
        patch.setattr(engine.reader, "image_frames", changing)
        update_index(index, engine)
    again = update_index(index, engine)
    assert (again.changed, again.encoded, again.unchanged) == (1, 1, 5)
    fresh = made(folder, engine, folder.parent / "fresh")
    update_index(fresh, engine)
    assert content_of(fresh) == content_of(index)
