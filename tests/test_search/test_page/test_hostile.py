"""Requests drawn at random: whatever they are, the server has an answer in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from tests.page_helpers import FakeIndex, FakeSearcher, client_of, plain_picture
from uniadapter.search.page.options import PageOptions

pytest.importorskip("fastapi")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder: Path = tmp_path_factory.mktemp("page")
    plain_picture(folder / "media/in/a.png")
    (folder / "secret.txt").write_text("the secret")
    index = FakeIndex(folder / "media", folder / "index")
    with client_of(FakeSearcher(index), PageOptions(max_upload=200_000)) as found:
        yield found


def check(reply: Any) -> None:
    """No fault of the server, errors in words, nothing of what isn't indexed."""
    assert reply.status_code < 500, reply.text
    assert b"the secret" not in reply.content
    assert b"Traceback" not in reply.content
    if reply.status_code >= 400 and reply.request.method != "HEAD":
        error = reply.json()
        assert error["status"] == reply.status_code
        assert set(error) == {"status", "code", "message"}
        assert error["message"]


NASTY = [
    *(
        "..",
        "../secret.txt",
        "/etc/passwd",
        "%2e%2e",
        "a\0b",
        "\ud800",
        "<script>x</script>",
        "1.5",
    ),
    *("nan", "inf", "-1", "1e9", "9" * 400, "0x10", "", " ", "\r\nX: y", "\u202e", "x" * 1001),
    *("' OR 1=1 --", "{{7*7}}", "%00", "C:\\", "file:///etc/passwd", "é", "\U0001f600", "null"),
]
texts = st.one_of(st.sampled_from(NASTY), st.text(max_size=30))
raw = st.one_of(
    st.binary(max_size=20).map(quote),
    texts.map(lambda text: quote(text.encode("utf-8", "surrogatepass"))),
    st.text(alphabet="abc%/.&=?+;012", max_size=20),
)
fields = st.sampled_from(
    ["text", "topk", "shortlist", "folder", "kind", "offset", "limit", "part", "at", "x"]
)
routes = st.sampled_from(
    ["/api/search", "/api/files", "/api/folders", "/api/status", "/media/10", "/preview/100"]
    + ["/thumb/100", "/", "/static/page.css", "/openapi.json"]
)


@settings(max_examples=draws(25, 3000))
@given(
    st.sampled_from(["GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "FOO"]),
    routes,
    st.lists(st.tuples(fields, raw), max_size=4),
    st.booleans(),
)
def test_queries(
    client: Any, method: str, route: str, query: list[tuple[str, str]], asks: bool
) -> None:
    pairs = [*([("text", "dog")] if asks else []), *query]
    address = f"{route}?{'&'.join(f'{name}={value}' for name, value in pairs)}"
    check(client.request(method, address))


@settings(max_examples=draws(30, 3000))
@given(st.sampled_from(["/media/", "/preview/", "/thumb/", "/static/", "/api/", "/", "//"]), raw)
@example("/static/", "..%2f..%2fapp.py")
@example("/media/", "..%2f..%2f..%2fsecret.txt")
@example("/media/", "%2e%2e/%2e%2e/secret.txt")
def test_addresses(client: Any, start: str, rest: str) -> None:
    check(client.get(f"http://127.0.0.1:8080{start}{rest}"))


@settings(max_examples=draws(20, 2000))
@given(
    st.sampled_from(["range", "if-range", "if-none-match", "if-modified-since", "host", "origin"]),
    st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=255), max_size=40),
)
def test_fields_of_requests(client: Any, name: str, value: str) -> None:
    check(client.get("/media/10", headers={name.encode(): value.encode("latin-1")}))


def part(name: bytes, content: bytes) -> bytes:
    return b"--x\r\nContent-Disposition: form-data; name=" + name + b"\r\n\r\n" + content + b"\r\n"


names = st.one_of(
    st.sampled_from([b'"file"; filename="a"', b'"file"', b'"topk"', b'"folder"', b'"text"', b""]),
    st.binary(max_size=12),
)
contents = st.one_of(
    st.binary(max_size=60),
    st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"BM", b"5", b"..", b"/"]),
)


@settings(max_examples=draws(25, 2000))
@given(
    st.one_of(
        st.lists(st.tuples(names, contents), max_size=3).map(
            lambda parts: b"".join(part(*one) for one in parts) + b"--x--\r\n"
        ),
        st.binary(max_size=80),
    ),
    st.sampled_from(
        ["multipart/form-data; boundary=x", "multipart/form-data", "text/plain", ""]
        + ["multipart/form-data; boundary=", "multipart/form-data; boundary=x; charset=nonsense"]
    ),
    st.integers(0, 40),
)
def test_forms(client: Any, body: bytes, content_type: str, cut: int) -> None:
    content = body[: len(body) - cut] if cut < 10 else body
    check(client.post("/api/search", content=content, headers={"Content-Type": content_type}))


def test_long_texts(client: Any) -> None:
    for address in ("/api/search", "/api/files"):
        reply = client.get(address, params={"text": "word " * 12_000})
        assert reply.status_code in (414, 422)
        check(reply)
    check(client.get("/" + "a/" * 15_000))
    body = part(b'"topk"', b"9" * 100_000) + part(b'"file"; filename="a"', b"x") + b"--x--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    reply = client.post("/api/search", content=body, headers=headers)
    assert reply.status_code == 400
    check(reply)
