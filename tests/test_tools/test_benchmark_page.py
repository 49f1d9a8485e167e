"""tools/analysis_tools/benchmark_page.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import load_tool
from tests.page_helpers import FakeIndex, FakeSearcher, plain_picture, served

pytest.importorskip("fastapi")
TOOL = load_tool("analysis_tools/benchmark_page.py")


def test_replies_are_counted(tmp_path: Path, capsys: Any) -> None:
    for name in "abc":
        plain_picture(tmp_path / f"media/{name}.png")
    searcher = FakeSearcher(FakeIndex(tmp_path / "media", tmp_path / "index"))
    (tmp_path / "texts").write_text("refused\n\n")
    out = tmp_path / "out.json"
    with served(searcher) as address:
        arguments = [address, "--clients", "3", "--searches", "2", "--topk", "2"]
        assert TOOL.main([*arguments, "--out", str(out)]) == 0
        replies = json.loads(out.read_text())["replies"]
        assert {what: row["requests"] for what, row in replies.items()} == {
            **{"search": 6, "small picture": 12, "clip": 6}
        }
        assert all(0 < row["p50"] <= row["p95"] <= row["max"] for row in replies.values())
        assert "errors: 0" in capsys.readouterr().out
        # A text that is refused is an error of the benchmark.
        texts = ["--texts", str(tmp_path / "texts")]
        assert TOOL.main([*arguments, *texts, "--out", str(out)]) == 1
    assert "status 422" in next(iter(json.loads(out.read_text())["errors"]))


def test_percentiles() -> None:
    log = TOOL.Log()
    for number in range(1, 101):
        log.note("x", number / 10, None)
    assert log.table()["x"] == {"requests": 100, "p50": 5.05, "p95": 9.5, "max": 10.0}
