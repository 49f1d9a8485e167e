"""``uniadapter serve``."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import ROOT
from tests.page_helpers import FakeIndex, FakeSearcher, fake_media, plain_picture
from uniadapter.cli.commands import serve as command
from uniadapter.search.index import SearchIndex

pytest.importorskip("fastapi")


@pytest.fixture
def searcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSearcher:
    plain_picture(tmp_path / "media/a.png")
    searcher = FakeSearcher(FakeIndex(tmp_path / "media", tmp_path / "index"))
    monkeypatch.setattr(command, "open_searcher", lambda *args: searcher)
    return searcher


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Servers that would have run, with the addresses they listen on."""
    import uvicorn

    found: list[Any] = []

    def run(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        found.append((server.config.app, sockets[0].getsockname()))
        server.config.app.app.state.page.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(uvicorn.Server, "run", run)
    return found


def test_the_address_is_printed(searcher: FakeSearcher, runs: list[Any], capsys: Any) -> None:
    command.main(["--port", "0", "--max-upload", "3", "--example", "a cat", "--allow-host", "box"])
    [(app, (host, port))] = runs
    said = capsys.readouterr().err
    assert f"{searcher.index.root} is at http://127.0.0.1:{port}/" in said
    assert "Warning" not in said
    assert host == "127.0.0.1"
    options = app.app.state.page.options
    assert (options.max_upload, options.examples) == (3 * 2**20, ("a cat",))
    assert options.allowed_hosts == ("box",)


def test_a_warning_for_other_addresses(searcher: Any, runs: list[Any], capsys: Any) -> None:
    command.main(["--port", "0", "--host", "0.0.0.0"])
    assert "everybody who reaches 0.0.0.0" in capsys.readouterr().err
    assert runs[0][1][0] == "0.0.0.0"


def test_a_port_that_is_taken_and_an_address_of_another(searcher: Any, runs: list[Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(SystemExit, match=f"{port}/ can't be listened on .*--port"):
            command.main(["--port", str(port)])
    with pytest.raises(SystemExit, match="--host 203.0.113.9|203.0.113.9:0/ can't be"):
        command.main(["--port", "0", "--host", "203.0.113.9"])
    with pytest.raises(SystemExit, match="2"):
        command.main(["--port", "70000"])
    with pytest.raises(SystemExit, match="2"):
        command.main(["--queue", "0"])
    assert not runs


def test_no_index_and_missing_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="has no index: make one"):
        command.main(["--port", "0", "--index", str(tmp_path)])
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(SystemExit, match=r"needs fastapi.*uniadapter\[search\]"):
        command.main([])


SCRIPT = """
import sys
from pathlib import Path
from tests.page_helpers import FakeIndex, FakeSearcher
from uniadapter.cli.commands import serve
folder = Path(sys.argv[1])
serve.open_searcher = lambda *args: FakeSearcher(FakeIndex(folder / "media", folder / "index"))
serve.main(["--port", "0"])
"""


@pytest.mark.deep
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_with_all_its_processes(tmp_path: Path, sign: signal.Signals) -> None:
    fake_media(tmp_path / "media")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=ROOT,
    ) as server:
        assert server.stderr is not None
        address = next(
            found[1] for line in server.stderr if (found := re.search(r"at (http\S+)", line))
        )
        with urllib.request.urlopen(f"{address}preview/100") as reply:
            assert reply.status == 200
        server.send_signal(sign)
        assert server.wait(20) == (0 if sign == signal.SIGINT else -signal.SIGTERM)
        assert "Traceback" not in server.stderr.read()
    deadline = time.monotonic() + 10
    while any(f"PPid:\t{server.pid}" in status for status in statuses()):
        assert time.monotonic() < deadline


def statuses() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/status"):
        try:
            found.append(path.read_text())
        except OSError:
            continue
    return found


def test_an_index_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "index.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises((OSError, ValueError)):
        SearchIndex.open(tmp_path)
    with pytest.raises(SystemExit, match="index"):
        command.main(["--port", "0", "--index", str(tmp_path)])
