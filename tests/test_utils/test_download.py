"""Files come whole and checked, or not at all."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from uniadapter.utils.download import check_file, download, sha256_of


@dataclass
class Shelf:
    """What a server has, how it behaves, and what it was asked."""

    content: bytes = b""
    ranges: bool = True
    tag: str = '"one"'
    length: bool = True
    #: Bytes after which each answer ends, in turn; None: not before its end.
    breaks: list[int | None] = field(default_factory=list)
    asked: list[str | None] = field(default_factory=list)


@pytest.fixture
def server():
    shelf = Shelf()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = self.headers.get("Range")
            shelf.asked.append(wanted)
            if self.path != "/file.bin":
                self.send_error(404)
                return
            start = int(wanted[6:-1]) if wanted and shelf.ranges else 0
            if self.headers.get("If-Range", shelf.tag) != shelf.tag:
                start = 0
            if start and start >= len(shelf.content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                end = len(shelf.content)
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{end}")
            if shelf.tag:
                self.send_header("ETag", shelf.tag)
            rest = shelf.content[start:]
            if shelf.length:
                self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest[: shelf.breaks.pop(0)] if shelf.breaks else rest)

        def log_message(self, *_):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    shelf.url = f"http://127.0.0.1:{running.server_port}/file.bin"
    yield shelf
    running.shutdown()
    running.server_close()


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


def digest(content):
    return hashlib.sha256(content).hexdigest()


@given(
    content=st.binary(max_size=40),
    breaks=st.lists(st.one_of(st.none(), st.integers(0, 40)), max_size=6),
    ranges=st.booleans(),
    tag=st.sampled_from(['"one"', 'W/"weak"', ""]),
    known=st.booleans(),
    length=st.booleans(),
)
@settings(
    max_examples=draws(25),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_however_a_server_breaks_off_the_file_is_right_in_the_end(
    server, tmp_path_factory, content, breaks, ranges, tag, known, length
):
    folder = tmp_path_factory.mktemp("shelf")
    # Nothing but the length or the digest tells a whole answer from a broken one.
    length = length or not known
    server.content, server.ranges, server.tag, server.length = content, ranges, tag, length
    server.breaks = list(breaks)
    expected = {"sha256": digest(content), "size": len(content)} if known else {}
    for _ in range(len(breaks) + 1):
        try:
            found = download(server.url, folder / "file.bin", **expected)
            break
        except (ConnectionError, ValueError):
            assert not (folder / "file.bin").exists()
    assert found.read_bytes() == content
    assert left_in(folder) == ["file.bin"]


def test_an_interrupted_file_is_continued_and_not_begun_anew(server, tmp_path):
    server.content, server.breaks = bytes(range(200)), [50, 0]
    with pytest.raises(ConnectionError, match="broke off.*50 bytes are kept, and another call"):
        download(server.url, tmp_path / "file.bin")
    assert left_in(tmp_path) == ["file.bin.part", "file.bin.part.tag"]
    assert download(server.url, tmp_path / "file.bin").read_bytes() == server.content
    assert server.asked == [None, "bytes=50-", "bytes=50-"]


def test_a_part_of_another_version_is_not_continued(server, tmp_path):
    server.content, server.breaks = b"old" * 30, [45, 0]
    with pytest.raises(ConnectionError):
        download(server.url, tmp_path / "file.bin")
    server.content, server.tag = b"new" * 30, '"two"'
    assert download(server.url, tmp_path / "file.bin").read_bytes() == b"new" * 30
    # Where nothing could show it, the file is begun anew.
    server.tag, server.breaks = "", [45, 0]
    with pytest.raises(ConnectionError):
        download(server.url, tmp_path / "b.bin")
    server.asked.clear()
    download(server.url, tmp_path / "b.bin")
    assert server.asked == [None]


def test_what_is_here_is_not_fetched(server, tmp_path):
    (tmp_path / "file.bin").write_bytes(b"here")
    download(server.url, tmp_path / "file.bin", digest(b"here"), 4)
    assert server.asked == []
    with pytest.raises(ValueError, match=r"file\.bin has the sha256 .* where 00 is expected"):
        download(server.url, tmp_path / "file.bin", "00")
    assert left_in(tmp_path) == ["file.bin"]


@pytest.mark.parametrize("known", [{"sha256": "0" * 64}, {"size": 7}])
def test_another_file_than_expected_is_thrown_away(server, tmp_path, known):
    server.content = b"content"[:6]
    with pytest.raises(ValueError, match="(thrown away|6 bytes, where 7 are expected)"):
        download(server.url, tmp_path / "file.bin", **known)
    assert left_in(tmp_path) == []


def test_without_a_server_the_error_says_where_to_put_the_file(server, tmp_path):
    target = tmp_path / "folder" / "file.bin"
    with pytest.raises(ConnectionError, match=rf"404 Not Found\. .* by other means as {target}"):
        download(server.url.replace("file", "none"), target)
    with pytest.raises(ConnectionError, match=f"refused.* by other means as {target}"):
        download("http://127.0.0.1:9/file.bin", target)
    assert left_in(target.parent) == []
    with pytest.raises(ValueError, match="https:// or http://"):
        download("file:///etc/hostname", target)


def test_of_several_callers_one_fetches(server, tmp_path):
    server.content = bytes(1000)
    found = []

    def fetch():
        found.append(download(server.url, tmp_path / "file.bin", digest(bytes(1000))))

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert server.asked == [None]
    assert left_in(tmp_path) == ["file.bin"]


def test_a_file_is_held_against_what_is_known(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert check_file(path) == path
    assert check_file(path, sha256_of(path).upper(), 3) == path
    with pytest.raises(ValueError, match="has 3 bytes, where 4 are expected"):
        check_file(path, size=4)
