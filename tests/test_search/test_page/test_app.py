"""The JSON API: answers, refusals, queues and updates of the index."""

from __future__ import annotations

import io
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.page_helpers import (
    FakeIndex,
    FakeSearcher,
    client_of,
    fake_media,
    plain_picture,
    served,
)
from uniadapter.datasets import MediaError
from uniadapter.search.hits import SearchResult
from uniadapter.search.page.options import PageOptions

pytest.importorskip("fastapi")


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_media(tmp_path_factory.mktemp("page") / "media")


@pytest.fixture(scope="module")
def searcher(media: Path) -> FakeSearcher:
    return FakeSearcher(FakeIndex(media, media.parent / "index"))


@pytest.fixture(scope="module")
def client(searcher: FakeSearcher) -> Iterator[Any]:
    with client_of(searcher, PageOptions(max_upload=100_000, max_pixels=10_000)) as found:
        yield found


def test_hits_as_they_were_found(client: Any, searcher: FakeSearcher) -> None:
    answer = client.get("/api/search", params={"text": " a dog ", "topk": 3}).json()
    result = searcher.search(text="a dog", topk=3, folder=None, kind=None)
    assert searcher.asked[-2] == {
        **{"text": "a dog", "topk": 3, "shortlist": None, "folder": None},
        **{"kind": None, "per_file": False},
    }
    assert answer["searched"] == 4
    assert answer["seconds"] == {**result.seconds, "waited": answer["seconds"]["waited"]}
    assert len(answer["hits"]) == len(result.hits) == 3
    for sent, hit in zip(answer["hits"], result.hits, strict=True):
        for name in ("shot_id", "file_id", "path", "kind", "start", "end", "best_moment", "score"):
            assert sent[name] == getattr(hit, name)
        assert sent["frame_times"] == list(hit.frame_times)
        assert sent["frame_weights"] == list(hit.frame_weights)
        assert client.get(sent["thumb"]).status_code == 200
        assert client.head(sent["play"]["url"]).status_code == 200


@pytest.mark.parametrize(
    ("filters", "paths"),
    [
        ({"folder": "day"}, {"day/one.mp4", "day/two.avi"}),
        ({"folder": "night", "kind": "image"}, {"night/four.png"}),
        ({"folder": "day", "kind": "image"}, set()),
    ],
)
def test_filters(client: Any, filters: dict[str, str], paths: set[str]) -> None:
    hits = client.get("/api/search", params={"text": "x", **filters}).json()["hits"]
    assert {hit["path"] for hit in hits} == paths
    files = client.get("/api/files", params=filters).json()
    assert {file["path"] for file in files["files"]} == paths
    assert files["total"] == len(paths)


def test_by_a_picture_and_by_a_video(client: Any, searcher: FakeSearcher, media: Path) -> None:
    for name, kind in (("night/four.png", "image"), ("day/two.avi", "video")):
        # What a file is, is seen by its content.
        files = {"file": ("../../x.html", (media / name).read_bytes(), "text/html")}
        reply = client.post("/api/search", files=files, data={"topk": "2", "kind": ""})
        assert (reply.status_code, len(reply.json()["hits"])) == (200, 2)
        asked = searcher.asked[-1]
        assert asked["topk"] == 2
        assert Path(asked[kind]).suffix == Path(name).suffix
        assert not Path(asked[kind]).exists()


def test_a_gif_is_a_video_as_in_an_index(client: Any, searcher: FakeSearcher) -> None:
    from PIL import Image

    out = io.BytesIO()
    pages = [Image.new("RGB", (20, 10), (shade, 0, 0)) for shade in (0, 100, 200)]
    pages[0].save(out, "GIF", save_all=True, append_images=pages[1:], duration=100)
    reply = client.post("/api/search", files={"file": ("a.gif", out.getvalue())})
    assert reply.status_code == 200
    assert Path(searcher.asked[-1]["video"]).suffix == ".gif"


def image_bytes(side: int) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.new("L", (side, side)).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "data", "status", "code"),
    [
        (b"", {}, 415, "unknown_kind"),
        (b"<html><script>", {}, 415, "unknown_kind"),
        (b"\x89PNG\r\n\x1a\nbroken", {}, 422, "unreadable_upload"),
        (b"\0\0\0\x20ftypisom" + bytes(500), {}, 422, "unreadable_upload"),
        (image_bytes(101), {}, 422, "unreadable_upload"),
        (image_bytes(8), {"topk": "0"}, 422, "wrong_value"),
        (image_bytes(8), {"topk": "1000"}, 422, "wrong_value"),
        (image_bytes(8), {"path": "/etc/passwd"}, 422, "wrong_value"),
        (image_bytes(8), {"folder": "../day"}, 404, "no_such_folder"),
        (image_bytes(8) + bytes(200_000), {}, 413, "upload_too_large"),
    ],
)
def test_uploads_that_are_refused(
    client: Any, content: bytes, data: dict[str, str], status: int, code: str
) -> None:
    reply = client.post("/api/search", files={"file": ("x", content)}, data=data)
    assert (reply.status_code, reply.json()["code"]) == (status, code)


def test_an_upload_without_its_length_is_stopped(client: Any) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        while True:
            sent += 20_000
            yield bytes(20_000)
            # The client of the tests reads what is sent to its end.
            if sent > 400_000:
                return

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    reply = client.post("/api/search", content=endless(), headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (413, "upload_too_large")


@pytest.mark.parametrize("announced", [True, False])
def test_who_sends_too_much_hears_why(searcher: FakeSearcher, announced: bool) -> None:
    parts = [b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n']
    parts += [bytes(2**18)] * 32
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    with served(searcher, PageOptions(max_upload=2**20)) as address:
        body = b"".join(parts) if announced else iter(parts)
        request = urllib.request.Request(f"{address}/api/search", body, headers)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=30)
        assert json.load(refused.value)["code"] == "upload_too_large"
        # A text of a megabyte in the address is answered in words, too.
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{address}/api/search?text={'a' * 10**6}", timeout=30)
        assert json.load(refused.value)["status"] == 414


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Host": "[::1"}, 421),
        ({"Host": ""}, 421),
        ({"Host": "192.168.1.5"}, 421),
        ({"Host": "localhost:9999"}, 200),
        ({"Host": "[::1]:8080"}, 200),
        ({"Host": "LOCALHOST."}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:8080"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, 200),
    ],
)
def test_who_may_ask(client: Any, headers: dict[str, str], status: int) -> None:
    assert client.get("/api/status", headers=headers).status_code == status


def test_names_that_are_allowed(searcher: FakeSearcher) -> None:
    for options, host, status in (
        (PageOptions(allowed_hosts=("box.local",)), "box.local:8080", 200),
        (PageOptions(allowed_hosts=("box.local",)), "other.local", 421),
        (PageOptions(allowed_hosts=("*",)), "other.local", 200),
        (PageOptions(host="0.0.0.0"), "192.168.1.5:8080", 200),
        (PageOptions(host="0.0.0.0"), "evil.example", 421),
        (PageOptions(host="192.168.1.5"), "192.168.1.5:8080", 200),
    ):
        with client_of(searcher, options) as client:
            assert client.get("/", headers={"Host": host}).status_code == status


def test_headers_of_every_reply(client: Any) -> None:
    for address in ("/", "/static/page.js", "/api/status", "/nothing", "/media/99999"):
        headers = client.get(address).headers
        assert "default-src 'none'; script-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"


def test_the_page_loads_nothing_from_elsewhere(client: Any) -> None:
    page = client.get("/").text
    assert '<script src="/static/page.js"' in page
    for address in ("/", "/static/page.css", "/static/page.js"):
        text = client.get(address).text.replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text
        assert "innerHTML" not in text
        assert " style=" not in text
        assert " onclick" not in text


def test_openapi_documents_every_route(client: Any) -> None:
    described = client.get("/openapi.json").json()
    assert set(described["paths"]) == {
        *("/api/search", "/api/files", "/api/folders", "/api/status"),
        *("/media/{file_id}", "/preview/{shot_id}", "/thumb/{shot_id}"),
    }
    form = described["paths"]["/api/search"]["post"]["requestBody"]["content"]
    assert "file" in form["multipart/form-data"]["schema"]["properties"]
    assert client.get("/docs").status_code == 404


class SlowSearcher(FakeSearcher):
    """Waits in the model until it is let go."""

    def __init__(self, index: FakeIndex) -> None:
        super().__init__(index)
        self.begun, self.go = threading.Event(), threading.Event()

    def search(self, **query: Any) -> SearchResult:
        self.begun.set()
        assert self.go.wait(20)
        return super().search(**query)


def test_the_server_answers_while_the_model_works_and_its_queue_is_bounded(media: Path) -> None:
    slow = SlowSearcher(FakeIndex(media, media.parent / "index"))
    with (
        client_of(slow, PageOptions(queue=2)) as client,
        ThreadPoolExecutor(3) as threads,
    ):
        try:
            asked = [
                threads.submit(client.get, "/api/search", params={"text": str(n)}) for n in range(3)
            ]
            assert slow.begun.wait(20)
            deadline = time.monotonic() + 20
            while client.get("/api/status").json()["waiting"] < 3:
                assert time.monotonic() < deadline
            reply = client.get("/api/search", params={"text": "one more"})
            assert (reply.status_code, reply.json()["code"]) == (503, "busy")
            assert int(reply.headers["retry-after"]) > 0
        finally:
            slow.go.set()
        assert [future.result().status_code for future in asked] == [200] * 3
        assert client.get("/api/status").json()["waiting"] == 0


def test_an_updated_index_needs_no_restart(tmp_path: Path) -> None:
    plain_picture(tmp_path / "media/a.png")
    index = FakeIndex(tmp_path / "media", tmp_path / "index")
    with client_of(FakeSearcher(index)) as client:
        before = client.get("/api/search", params={"text": "x"}).json()
        assert [hit["path"] for hit in before["hits"]] == ["a.png"]
        plain_picture(tmp_path / "media/new/b.png")
        index.update()
        after = client.get("/api/search", params={"text": "x"}).json()
        assert {hit["path"] for hit in after["hits"]} == {"a.png", "new/b.png"}
        assert after["version"] != before["version"]
        assert client.get("/api/status").json()["images"] == 2
        assert [folder["path"] for folder in client.get("/api/folders").json()] == ["", "new"]


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    picture = plain_picture(tmp_path / "a.png")
    name = b"caf\xe9<b>/x.png".decode("utf-8", "surrogateescape")
    (tmp_path / "media" / name).parent.mkdir()
    picture.rename(tmp_path / "media" / name)
    searcher = FakeSearcher(FakeIndex(tmp_path / "media", tmp_path / "index"))
    with client_of(searcher) as client:
        folder = client.get("/api/folders").json()[1]["path"]
        assert folder == "caf\N{REPLACEMENT CHARACTER}<b>"
        answer = client.get("/api/search", params={"text": "x", "folder": folder})
        assert answer.json()["hits"][0]["path"] == f"{folder}/x.png"
        assert searcher.asked[-1]["folder"] == name.rpartition("/")[0]
        assert client.get(answer.json()["hits"][0]["thumb"]).status_code == 200


def test_an_upload_that_breaks_behind_its_first_frame(media: Path) -> None:
    searcher = FakeSearcher(FakeIndex(media, media.parent / "index"))

    def broken(video: str, **query: Any) -> SearchResult:
        raise MediaError(video, "frame 7 can't be decoded")

    searcher.search = broken  # type: ignore[method-assign, assignment]
    with client_of(searcher) as client:
        content = (media / "day/two.avi").read_bytes()
        reply = client.post("/api/search", files={"file": content})
        assert (reply.status_code, reply.json()["code"]) == (422, "unreadable_upload")
        assert reply.json()["message"] == "The upload: frame 7 can't be decoded."


def test_a_fault_of_the_server_shows_no_traceback(media: Path) -> None:
    searcher = FakeSearcher(FakeIndex(media, media.parent / "index"))

    def broken(**query: Any) -> SearchResult:
        raise RuntimeError("secret detail")

    searcher.search = broken
    with client_of(searcher) as client:
        reply = client.get("/api/search", params={"text": "x"})
        assert (reply.status_code, reply.json()["code"]) == (500, "failed")
        assert "secret" not in reply.text
        assert client.get("/api/status").status_code == 200


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="max_topk must be a positive number"):
        PageOptions(max_topk=0)
    with pytest.raises(ValueError, match="preview_seconds"):
        PageOptions(preview_seconds=float("nan"))
