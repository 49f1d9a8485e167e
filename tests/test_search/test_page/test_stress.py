"""A page of an index on the disk under bad uploads, files and an index that change below it."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.helpers import draws
from tests.page_helpers import client_of, grey_video, plain_picture
from tests.search_helpers import RATE, StubEngine, write_frames, write_picture
from tests.test_search.test_page.test_hostile import check
from uniadapter.search.index import SearchIndex
from uniadapter.search.page.options import PageOptions
from uniadapter.search.page.ranges import Validators
from uniadapter.search.reading import ReadOptions
from uniadapter.search.searcher import Searcher
from uniadapter.search.update import update_index

pytest.importorskip("fastapi")

READING = ReadOptions(2.0, RATE)


def media(root: Path) -> Path:
    write_picture(root / "in/a.png", 1)
    write_picture(root / "b.png", 2)
    write_frames(root / "clip", 3, 5)
    return root


def indexed(root: Path, place: Path) -> SearchIndex:
    index = SearchIndex.create(place, StubEngine(), READING, root)
    update_index(index, StubEngine())
    return index


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    place = tmp_path_factory.mktemp("page")
    index = indexed(media(place / "media"), place / "index")
    options = PageOptions(max_upload=300_000, max_pixels=100_000)
    with client_of(Searcher(index, StubEngine()), options) as found:
        yield found


MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I", "I;16", "F")
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "ICO", "JPEG2000", "TGA", "PDF")


def picture(mode: str, name: str, size: tuple[int, int], pages: int) -> bytes:
    """A picture, or nothing where the format has no such pictures."""
    shown = Image.new(mode, size)
    more = {"save_all": True, "append_images": [shown] * (pages - 1)} if pages > 1 else {}
    out = io.BytesIO()
    try:
        shown.save(out, name, **more)
    except (OSError, ValueError, KeyError, TypeError):
        return b""
    return out.getvalue()


def video(codec: str, ending: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = grey_video(Path(folder) / f"a{ending}", 1.0, codec)
        return path.read_bytes()


OTHERS = [
    *(
        b"",
        b"\0",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"just text",
        b"#EXTM3U\n/etc/passwd",
    ),
    *(b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP", b"\0\0\0\x20ftypisom"),
    b"ffconcat version 1.0\nfile /etc/passwd",
]
sides = st.sampled_from([1, 2, 3, 64, 300, 1000])
contents = st.one_of(
    st.builds(
        picture,
        st.sampled_from(MODES),
        st.sampled_from(FORMATS),
        st.tuples(sides, sides),
        st.integers(1, 3),
    ),
    st.builds(
        video,
        st.just("mpeg4"),
        st.sampled_from([".mp4", ".avi", ".mkv"]),
    ),
    st.sampled_from(OTHERS),
    st.binary(max_size=200),
)


@settings(max_examples=draws(20, 150), deadline=None)
@given(
    contents, st.floats(0, 1), st.sampled_from(["whole", "cut", "flipped", "doubled"]), st.data()
)
@example(picture("P", "PNG", (3, 3), 1), 1.0, "whole", None)
@example(picture("I;16", "PNG", (1, 1), 1), 1.0, "whole", None)
@example(picture("RGB", "JPEG", (1000, 1000), 1), 1.0, "whole", None)
def test_uploads(client: Any, content: bytes, place: float, damage: str, data: Any) -> None:
    cut = int(place * len(content))
    if damage == "cut":
        content = content[:cut]
    elif damage == "flipped" and content:
        at = min(cut, len(content) - 1)
        content = content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :]
    elif damage == "doubled":
        content = content + content[cut:]
    fields = {}
    if data is not None:
        values = st.sampled_from(
            ["", "5", "0", "nan", "1e9", "../..", "video", "image", "in", "\ud7ff"]
        )
        names = st.sampled_from(["topk", "shortlist", "folder", "kind", "per_file", "text", "x"])
        fields = data.draw(st.dictionaries(names, values, max_size=2))
    reply = client.post("/api/search", files={"file": ("a.jpg", content)}, data=fields)
    check(reply)
    # Where it was kept meanwhile is nobody's business.
    assert tempfile.gettempdir() not in reply.text


def test_duplicates_are_refused(client: Any) -> None:
    for address in ("/api/search?text=a&topk=1&topk=2", "/thumb/1?at=1&%61t=2", "/api/status?x&x"):
        reply = client.get(address)
        assert (reply.status_code, reply.json()["code"]) == (422, "wrong_value")
        assert "is given more than once" in reply.json()["message"]


def shots_and_files(client: Any) -> list[str]:
    hits = client.get("/api/search", params={"text": "bird", "topk": 50}).json()["hits"]
    return [
        address
        for hit in hits
        for address in (hit["thumb"], f"/preview/{hit['shot_id']}", f"/media/{hit['file_id']}")
    ]


def _replace(path: Path, how: str, secret: Path) -> None:
    former = path.stat()
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    if how == "folder":
        (path / "below").mkdir(parents=True)
        shutil.copy(secret, path / "0.png")
    elif how == "pipe":
        os.mkfifo(path)
    elif how == "secret":
        path.symlink_to(secret)
    elif how == "loop":
        path.symlink_to(path)
    elif how == "changed":
        path.write_bytes(secret.read_bytes())
        os.utime(path, ns=(former.st_mtime_ns, former.st_mtime_ns))
    elif how == "empty":
        path.touch()


HOWS = ("gone", "folder", "pipe", "secret", "loop", "changed", "empty", "unreadable")
SECRET = b"the secret that nobody is to see"


@settings(max_examples=draws(2, 100), deadline=None)
@given(st.tuples(*[st.sampled_from(HOWS)] * 3), st.booleans())
def test_files_that_change_below_it(
    tmp_path_factory: pytest.TempPathFactory, hows: tuple[str, ...], seen: bool
) -> None:
    place = tmp_path_factory.mktemp("changing")
    root = media(place / "media")
    (place / "secret").write_bytes(SECRET)
    index = indexed(root, place / "index")
    with client_of(Searcher(index, StubEngine())) as client:
        addresses = shots_and_files(client)
        if seen:
            assert {client.get(address).status_code for address in addresses} == {200, 404}
        for name, how in zip(("in/a.png", "b.png", "clip"), hows, strict=True):
            if how == "unreadable":
                (root / name).chmod(0)
            else:
                _replace(root / name, how, place / "secret")
        for address in addresses:
            reply = client.get(address)
            check(reply)
            assert SECRET not in reply.content
        check(client.get("/api/search", params={"text": "bird"}))


def _ruin(index: SearchIndex, how: str) -> None:
    database = index.folder / "index.sqlite"
    if how in ("removed", "file"):
        shutil.rmtree(index.folder)
    elif how == "moved":
        index.folder.rename(index.folder.with_name("elsewhere"))
    else:
        content = database.read_bytes()
        others = {"damaged": b"x" * len(content), "cut": content[:5000], "foreign": b"text"}
        database.write_bytes(others.get(how, b""))
    if how == "file":
        index.folder.write_text("no folder")


def test_an_index_that_goes_below_it(tmp_path: Path) -> None:
    index = indexed(media(tmp_path / "media"), tmp_path / "index")
    with client_of(Searcher(index, StubEngine())) as client:
        addresses = shots_and_files(client)
        routes = ["/api/search?text=bird", "/api/files", "/api/folders", "/api/status", *addresses]
        assert {client.get(address).status_code for address in routes} == {200, 404}
        shutil.copytree(index.folder, tmp_path / "kept")
        for how in ("removed", "moved", "damaged", "cut", "foreign", "file", "emptied"):
            _ruin(index, how)
            for address in routes:
                reply = client.get(address)
                assert reply.status_code == 503, (how, address, reply.text)
                assert set(reply.json()) == {"status", "code", "message"}
                assert reply.json()["code"] == "index_unusable"
            assert client.get("/").status_code == 200
            # It goes on when the index is back.
            if index.folder.exists():
                index.folder.unlink() if how == "file" else shutil.rmtree(index.folder)
            shutil.copytree(tmp_path / "kept", index.folder)
            assert {client.get(address).status_code for address in routes} == {200, 404}


def test_numbers_of_an_index_made_anew_are_new(tmp_path: Path) -> None:
    """Who has the page of before open gets nothing rather than another video."""
    root = media(tmp_path / "media")
    index = indexed(root, tmp_path / "index")
    with client_of(Searcher(index, StubEngine())) as client:
        before = shots_and_files(client)
        update_index(SearchIndex.create(index.folder, StubEngine(), READING, root), StubEngine())
        assert {client.get(address).status_code for address in before} == {404}
        assert not {*shots_and_files(client)} & {*before}


class Updated(Searcher):
    """Its index is updated just behind each search."""

    searches = 0

    def search(self, **query: Any) -> Any:
        found = super().search(**query)
        self.searches += 1
        root = self.index.root
        [picture] = root.glob("*.png")
        picture.rename(root / f"{self.searches}.png")
        update_index(SearchIndex.open(self.index.folder), StubEngine())
        return found


def test_an_index_that_is_updated_all_the_time_is_searched_once(tmp_path: Path) -> None:
    """A long update commits every few seconds, and a search may take longer."""
    plain_picture(tmp_path / "media/0.png")
    index = SearchIndex.create(tmp_path / "index", StubEngine(), None, tmp_path / "media")
    update_index(index, StubEngine())
    searcher = Updated(index, StubEngine())
    with client_of(searcher) as client:
        for number in range(3):
            version = str(index.version)
            reply = client.get("/api/search", params={"text": "red"})
            assert reply.status_code == 200, reply.text
            answer = reply.json()
            assert searcher.searches == number + 1
            assert [hit["path"] for hit in answer["hits"]] == [f"{number}.png"]
            assert answer["version"] == version != str(index.version)
            plays = client.get(answer["hits"][0]["play"]["url"])
            assert plays.status_code == 200


@pytest.mark.deep
@settings(max_examples=draws(2, 10), deadline=None)
@given(st.integers(2, 4), st.randoms(use_true_random=False))
def test_answers_are_of_one_state(
    tmp_path_factory: pytest.TempPathFactory, clients: int, random: Any
) -> None:
    """While pictures come in turns, red ones and green ones, nobody sees some of both."""
    place = tmp_path_factory.mktemp("states")
    root = place / "media"
    names = [f"{number}.png" for number in range(4)]
    for name in names:
        plain_picture(root / "red" / name)
    index = SearchIndex.create(place / "index", StubEngine(), None, root)
    update_index(index, StubEngine())
    seen: list[tuple[str, frozenset[str]]] = []
    over = threading.Event()

    def ask(client: Any) -> None:
        while not over.is_set():
            reply = client.get("/api/search", params={"text": "red", "topk": 50})
            assert reply.status_code == 200, reply.text
            answer = reply.json()
            seen.append((answer["version"], frozenset(hit["path"] for hit in answer["hits"])))

    with client_of(Searcher(index, StubEngine())) as client:
        threads = [threading.Thread(target=ask, args=(client,)) for _ in range(clients)]
        for thread in threads:
            thread.start()
        states = {}
        try:
            for turn in range(6):
                old, new = ("red", "green")[:: 1 if turn % 2 == 0 else -1]
                (root / old).rename(root / new)
                update_index(SearchIndex.open(index.folder), StubEngine())
                states[str(index.version)] = frozenset(f"{new}/{name}" for name in names)
                over.wait(random.random() / 20)
        finally:
            over.set()
            for thread in threads:
                thread.join()
        assert client.get("/api/search", params={"text": "x"}).json()["version"] in states
    wholes = {frozenset(f"{colour}/{name}" for name in names) for colour in ("red", "green")}
    assert {paths for _, paths in seen} <= wholes
    assert all(states.get(version, paths) == paths for version, paths in seen)


@given(st.floats(allow_nan=False, allow_infinity=False))
@settings(max_examples=draws(20))
def test_dates_of_any_time_of_change(modified: float) -> None:
    assert Validators('"x"', modified).date.endswith(" GMT")
    assert np.isfinite(modified)
