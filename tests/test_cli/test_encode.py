"""`uniadapter encode` by its command line, and an index of what it wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.commands import parsers_of
from tests.search_helpers import StubEngine, content_of, write_picture
from uniadapter.cli.commands import encode, index
from uniadapter.search.index import SearchIndex

pytest.importorskip("pyarrow")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for number in range(3):
        write_picture(tmp_path / "media" / f"{number}.png", number)
    for module in (encode, index):
        monkeypatch.setattr(module, "engine_of", lambda *_: StubEngine())
    return tmp_path / "media"


def test_a_corpus_becomes_an_index(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    argv = [str(folder), "--out", str(out), "--model", "m", "--workers", "0", "--shard-size", "1"]
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        assert encode.main(argv) == 0
    assert "rank 1 of 2: 1 files encoded, 0 there, 0 faults" in capsys.readouterr().out
    assert len(list(out.glob("*.parquet"))) == 3
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n")
    assert encode.main([*argv, "--out", str(tmp_path / "other")]) == 1
    assert "broken.png: " in capsys.readouterr().out
    (folder / "broken.png").unlink()
    assert index.main([str(folder), "--from-parquet", str(out)]) == 0
    assert "3 files, 3 shots" in capsys.readouterr().out
    made = SearchIndex.open(folder)
    assert made.settings.source["model"] == "m"
    with pytest.raises(SystemExit, match="there is an index already"):
        index.main([str(folder), "--from-parquet", str(out)])
    with pytest.raises(SystemExit, match="--shot-seconds"):
        index.main([str(folder), "--from-parquet", str(out), "--shot-seconds", "3", "--rebuild"])
    others = (["--workers", "1"], ["--batch-size", "8"])
    for more in (["--retry"], ["--compact"], ["--on-error", "raise"], *others):
        with pytest.raises(SystemExit, match=f"{more[0]} is of an update"):
            index.main([str(folder), "--from-parquet", str(out), "--rebuild", *more])
    before = content_of(made)
    assert index.main([str(folder), "--from-parquet", str(out), "--rebuild"]) == 0
    assert content_of(SearchIndex.open(folder)) == before


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "--model NAME"),
        (["--model", "m", "--workers", "-1"], "2"),
        (["--model", "m", "--backend-args", "backend=ftp"], "no backend of MMEngine"),
        (["--model", "m", "--shot-seconds", "0"], "2"),
        (["--model", "m", "--shot-seconds", "1e-9"], "0.01 at least"),
    ],
)
def test_wrong_command_lines(folder: Path, tmp_path: Path, more: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        encode.main([str(folder), "--out", str(tmp_path / "out"), *more])


def test_what_is_not_there(tmp_path: Path) -> None:
    argv: list[Any] = ["--out", str(tmp_path / "out"), "--model", "m"]
    with pytest.raises(SystemExit, match="does not exist"):
        encode.main([str(tmp_path / "nowhere"), *argv])


def test_what_both_commands_take_is_the_same() -> None:
    """How files become shots, and shots numbers: names, help and ranges, but for own defaults."""
    shared = {"--shot-seconds", "--frames", "--no-tokens", "--workers", "--batch-size", "--model"}
    shared |= {"--checkpoint", "--cfg-options", "--device"}
    known = [
        {
            name: (action.type, action.nargs, action.metavar, (action.help or "").split("(")[0])
            for parser in parsers_of(command)
            for action in parser._actions
            for name in action.option_strings
            if name in shared
        }
        for command in ("index", "encode")
    ]
    assert known[0] == known[1]
    assert set(known[0]) == shared
