from __future__ import annotations

import subprocess

import pytest

from tools.analysis_tools import benchmark_gallery
from tools.analysis_tools.benchmark_gallery import ROWS, as_table, main, measure, parse_args

SMALL = ["--media", "5", "--frames", "2", "--tokens", "3", "--width", "8", "--batch-size", "2"]


def test_every_row_holds_the_same_tokens(tmp_path) -> None:
    options = [*SMALL, "--dir", str(tmp_path)]
    rows = [measure(parse_args([*options, "--row", str(row)])) for row in range(len(ROWS))]
    found = {(row["dtype"], row["on_disk"]): row for row in rows}
    assert set(found) == set(ROWS)
    # The same bits, wherever they are.
    for dtype in ("float32", "float16"):
        assert found[dtype, True]["digest"] == found[dtype, False]["digest"]
    assert found["float32", True]["digest"] != found["float16", True]["digest"]
    assert list(tmp_path.iterdir()) == []
    table = as_table(parse_args(SMALL), rows)
    assert "float16 on disk" in table
    assert len(table.splitlines()) == 2 + len(ROWS)


def test_a_gallery_on_disk_takes_little_memory(tmp_path) -> None:
    options = ["--media", "40", "--dir", str(tmp_path), "--batch-size", "1"]
    row = benchmark_gallery.measure_apart(options, ROWS.index(("float32", True)))
    assert row["tokens_gib"] > 0.3
    assert 0 < row["added_gib"] < 0.5 * row["tokens_gib"]


def test_a_row_that_fails_is_an_error(monkeypatch) -> None:
    failed = subprocess.CompletedProcess([], 3, stdout="")
    monkeypatch.setattr(benchmark_gallery.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(SystemExit, match="ended with code 3"):
        main(SMALL)


def test_bad_options() -> None:
    with pytest.raises(SystemExit):
        parse_args(["--media", "0"])
