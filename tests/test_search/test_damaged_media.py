"""Damaged pictures and videos where files are indexed and looked for: read, or named."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.damage import OTHERS, damaged
from tests.helpers import draws
from tests.malformed import outcome
from tests.search_helpers import RATE, StubEngine, write_picture
from tests.test_datasets.conftest import write_video
from uniadapter.datasets.transforms.backends import open_media
from uniadapter.datasets.transforms.pictures import picture_size, read_image
from uniadapter.search.index import SearchIndex
from uniadapter.search.reading import ReadOptions, query_frames
from uniadapter.search.update import update_index

READING = ReadOptions(shot_seconds=2.0, frame_rate=RATE)
VIDEOS = ("mp4", "mkv", "avi", "webm")
KINDS = ("png", "jpg", "webp", "bmp", "gif", "tiff", *VIDEOS[:3])
_numbers = itertools.count()


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A small file of every kind."""
    folder = tmp_path_factory.mktemp("right")
    write_picture(folder / "a.png", 1)
    picture, found = Image.open(folder / "a.png"), {}
    for kind in KINDS:
        content = io.BytesIO()
        if kind in VIDEOS:
            codec = "mpeg4" if kind == "avi" else "libx264"
            write_video(folder / f"a.{kind}", 4, 32, 32, codec=codec)
            found[kind] = (folder / f"a.{kind}").read_bytes()
            continue
        picture.save(content, "jpeg" if kind == "jpg" else kind)
        found[kind] = content.getvalue()
    return found


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=draws(6, deep=150))
@given(data=st.data())
def test_files(
    kind: str, data: st.DataObject, right: Any, tmp_path_factory: pytest.TempPathFactory
):
    folder = tmp_path_factory.getbasetemp() / f"damaged_media{next(_numbers)}"
    folder.mkdir()
    path = str(folder / f"a.{kind}")
    Path(path).write_bytes(data.draw(damaged(right[kind])))

    def frames() -> Any:
        medium = open_media(path)
        return medium.get_frames(range(len(medium)))

    outcome(frames, folder)
    engine = StubEngine()
    outcome(lambda: query_frames(engine.reader, path, "video"), folder)
    if kind not in VIDEOS:
        picture_size(path)
        for truncated in (False, True):
            outcome(lambda t=truncated: read_image(path, t), folder)
        outcome(lambda: query_frames(engine.reader, path, "image"), folder)


@settings(max_examples=draws(5, deep=150))
@given(data=st.data())
def test_an_index_has_every_file_or_names_it(
    data: st.DataObject, right: Any, tmp_path_factory: pytest.TempPathFactory
):
    folder = tmp_path_factory.getbasetemp() / f"damaged_media{next(_numbers)}"
    folder.mkdir()
    for number in range(2):
        write_picture(folder / f"good{number}.png", number)
    spoilt = data.draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=3, unique=True))
    for kind in spoilt:
        (folder / f"bad.{kind}").write_bytes(data.draw(damaged(right[kind])))
    index = SearchIndex.create(folder / ".index", StubEngine(), READING, folder)
    report = update_index(index, StubEngine())
    names = {"good0.png", "good1.png", *(f"bad.{kind}" for kind in spoilt)}
    shown = {file.path for file in index.files()}
    assert shown | set(report.unreadable) == names
    assert {"good0.png", "good1.png"} <= shown - set(report.unreadable)
    assert all(str(reason) for reason in report.unreadable.values())


@pytest.mark.parametrize("kind", ["png", "mp4"])
def test_other_files_under_a_mediums_name(kind: str, tmp_path: Path):
    engine = StubEngine()
    for number, content in enumerate(OTHERS.values()):
        (tmp_path / f"{number}.{kind}").write_bytes(content)
    (tmp_path / f"folder.{kind}").mkdir()
    index = SearchIndex.create(tmp_path / ".index", engine, ReadOptions(2.0), tmp_path)
    report = update_index(index, engine)
    assert len(report.unreadable) == len(OTHERS)
    for path in [*tmp_path.glob(f"*.{kind}")]:
        medium = "image" if kind == "png" else "video"
        assert (
            outcome(lambda p=path, m=medium: query_frames(engine.reader, str(p), m), tmp_path)
            is None
        )
