"""Files by number: parts of them, what is gone, and what browsers can't play."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.helpers import draws
from tests.page_helpers import (
    FakeIndex,
    FakeSearcher,
    client_of,
    fake_media,
    grey_video,
    plain_picture,
)

pytest.importorskip("fastapi")


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_media(tmp_path_factory.mktemp("page") / "media")


@pytest.fixture(scope="module")
def index(media: Path) -> FakeIndex:
    return FakeIndex(media, media.parent / "index")


@pytest.fixture(scope="module")
def client(index: FakeIndex) -> Iterator[Any]:
    with client_of(FakeSearcher(index)) as found:
        yield found


def file_id(index: FakeIndex, name: str) -> int:
    return next(file.file_id for file in index.files() if file.path == name)


def grey_of(picture: bytes) -> float:
    return float(np.asarray(Image.open(io.BytesIO(picture)).convert("L")).mean())


def test_a_file_and_its_head(client: Any, index: FakeIndex, media: Path) -> None:
    content = (media / "day/one.mp4").read_bytes()
    address = f"/media/{file_id(index, 'day/one.mp4')}"
    whole = client.get(address)
    assert (whole.status_code, whole.content) == (200, content)
    assert whole.headers["content-type"] == "video/mp4"
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["x-content-type-options"] == "nosniff"
    head = client.head(address, headers={"Range": "bytes=0-1"})
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "content-type", "etag", "last-modified"):
        assert head.headers[name] == whole.headers[name]
    again = client.get(address, headers={"If-None-Match": whole.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(address, headers={"If-Match": '"x"'}).status_code == 412


@settings(max_examples=draws(12))
@given(st.integers(0, 2500), st.one_of(st.none(), st.integers(0, 2500)), st.booleans())
def test_parts(
    client: Any, index: FakeIndex, media: Path, first: int, last: int | None, same: bool
) -> None:
    content = (media / "day/one.mp4").read_bytes()
    address = f"/media/{file_id(index, 'day/one.mp4')}"
    tag = client.head(address).headers["etag"] if same else '"another"'
    headers = {"Range": f"bytes={first}-{'' if last is None else last}", "If-Range": tag}
    reply = client.get(address, headers=headers)
    part = content[first:] if last is None else content[first : last + 1]
    if not same or (last is not None and last < first):
        assert (reply.status_code, reply.content) == (200, content)
    elif not part:
        assert reply.status_code == 416
        assert reply.headers["content-range"] == f"bytes */{len(content)}"
    else:
        assert (reply.status_code, reply.content) == (206, part)
        end = first + len(part) - 1
        assert reply.headers["content-range"] == f"bytes {first}-{end}/{len(content)}"
        assert reply.headers["content-length"] == str(len(part))


def test_files_that_are_gone_changed_or_no_files(tmp_path: Path) -> None:
    for name in "abcd":
        plain_picture(tmp_path / f"media/{name}.png")
    index = FakeIndex(tmp_path / "media", tmp_path / "index")
    with client_of(FakeSearcher(index)) as client:
        (tmp_path / "media/a.png").unlink()
        (tmp_path / "media/b.png").write_bytes(b"other")
        (tmp_path / "media/c.png").unlink()
        os.mkfifo(tmp_path / "media/c.png")
        (tmp_path / "secret").write_text("secret")
        (tmp_path / "media/d.png").unlink()
        (tmp_path / "media/d.png").symlink_to(tmp_path / "secret")
        for number, (status, word) in enumerate(
            [(404, "no longer there"), (409, "run `uniadapter index` again")]
            + [(404, "no longer there"), (409, "changed")]
        ):
            for address in (f"/media/{10 + number}", f"/preview/{100 + number}"):
                reply = client.get(address)
                assert (reply.status_code, reply.json()["status"]) == (status, status)
                assert word in reply.json()["message"]


def test_previews_show_the_frames_of_the_shot(client: Any, index: FakeIndex) -> None:
    for name in ("day/one.mp4", "day/two.avi"):
        shot = 90 + file_id(index, name)
        reply = client.get(f"/preview/{shot}")
        assert reply.headers["content-type"] in ("video/mp4", "video/webm")
        with av.open(io.BytesIO(reply.content)) as made:
            assert made.streams.video[0].codec_context.name in ("h264", "libvpx-vp9", "vp9", "vp8")
            frames = [(f.time, f.to_ndarray(format="gray").mean()) for f in made.decode(video=0)]
        assert [time for time, _ in frames] == pytest.approx([n / 8 for n in range(16)], abs=1e-3)
        assert [grey for _, grey in frames] == pytest.approx(
            [40 + 20 * time for time, _ in frames], abs=4
        )
        part = client.get(f"/preview/{shot}", headers={"Range": "bytes=3-9"})
        assert (part.status_code, part.content) == (206, reply.content[3:10])


@pytest.mark.parametrize("at", [0.0, 0.6, 1.3, 1.9])
def test_thumbs_show_their_moment(client: Any, index: FakeIndex, at: float) -> None:
    reply = client.get(f"/thumb/{90 + file_id(index, 'day/two.avi')}?at={at}")
    assert reply.headers["content-type"] == "image/jpeg"
    assert grey_of(reply.content) == pytest.approx(40 + 20 * at, abs=5)


def test_pictures(client: Any, index: FakeIndex) -> None:
    shot = 90 + file_id(index, "night/four.png")
    for address in (f"/thumb/{shot}", f"/preview/{shot}"):
        picture = Image.open(io.BytesIO(client.get(address).content))
        assert (picture.format, picture.size) == ("JPEG", (48, 32))


def test_what_is_played_as_it_is(client: Any) -> None:
    hits = client.get("/api/search", params={"text": "anything"}).json()["hits"]
    played = {hit["path"]: hit["play"]["url"].split("/")[1] for hit in hits}
    native = {"night/three.webm": "media", "night/four.png": "media"}
    assert played == {"day/one.mp4": "preview", "day/two.avi": "preview", **native}


@pytest.mark.parametrize("pace", [7.99, 25])
@pytest.mark.parametrize("codec", ["mpeg4", "libx264", "mpeg2video"])
def test_later_parts_of_a_long_video(tmp_path: Path, codec: str, pace: float) -> None:
    from uniadapter.search.page.media_worker import frames_from

    path = grey_video(tmp_path / "long.mkv", 8.0, codec, pace=round(pace))
    every = {round(t.seconds, 3): t.frame.to_ndarray().mean() for t in frames_from(str(path), 0.0)}
    later = [
        (round(t.seconds, 3), t.frame.to_ndarray().mean())
        for t in frames_from(str(path), 5.0)
        if t.seconds >= 5.0
    ]
    assert [time for time, _ in later] == [time for time in every if time >= 5.0]
    assert all(every[time] == pytest.approx(grey, abs=1) for time, grey in later)


def test_one_preview_for_all_that_ask_at_once(index: FakeIndex, tmp_path: Path) -> None:
    from uniadapter.search.page.catalog import library_of
    from uniadapter.search.page.options import PageOptions
    from uniadapter.search.page.previews import Previews

    previews = Previews(tmp_path, PageOptions())
    library = library_of(index)
    file, shot = library.file(10), library.shot(100)
    asked = []
    ask = previews._clips.ask

    async def count(job: str, **arguments: Any) -> dict[str, Any]:
        asked.append(job)
        return await ask(job, **arguments)

    previews._clips.ask = count

    async def together() -> list[Any]:
        return await asyncio.gather(*(previews.preview(file, shot, 0) for _ in range(8)))

    try:
        made = asyncio.run(together())
        made.append(asyncio.run(previews.preview(file, shot, 0)))
    finally:
        previews.close()
    assert asked == ["clip"]
    assert len({one.path for one in made}) == 1
    assert [path.name for path in tmp_path.rglob("*.part")] == []
