"""The console command finds its commands and hands arguments on."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from uniadapter import __version__
from uniadapter.cli import commands
from uniadapter.cli.main import known_commands, main

NAMES = {"config", "convert", "list", "publish", "test", "train", "verify"}


def test_every_command_says_what_it_is_for() -> None:
    known = known_commands()
    assert set(known) >= NAMES
    assert all(text.endswith(".") for text in known.values())


@pytest.mark.parametrize("argv", [["--help"], ["-h"]])
def test_help_lists_the_commands(argv: list[str], capsys) -> None:
    assert main(argv) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in NAMES)


def test_version(capsys) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"uniadapter {__version__}\n"


@pytest.mark.parametrize(
    ("argv", "said"), [(["trian"], "Did you mean 'train'?"), ([], "name one"), (["_x"], "'_x'")]
)
def test_a_wrong_command(argv: list[str], said: str, capsys) -> None:
    assert main(argv) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(NAMES))
def test_help_of_a_command(name: str, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert f"usage: uniadapter {name} " in text
    # An example of its use comes with it.
    assert f"    uniadapter {name} " in text


def test_a_new_command_is_one_file(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "hum.py").write_text('"""Hum."""\n\n\ndef main(argv):\n    return len(argv)\n')
    monkeypatch.setattr("uniadapter.cli.main._FOLDER", tmp_path)
    monkeypatch.setattr(commands, "__path__", [str(tmp_path)])
    assert known_commands() == {"hum": "Hum."}
    assert main(["hum", "a", "--b"]) == 2


def test_it_runs_as_a_module(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["uniadapter", "-V"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("uniadapter", run_name="__main__")
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"uniadapter {__version__}\n"


def test_what_the_system_refuses_is_named():
    from uniadapter.cli.searching import explained

    with pytest.raises(SystemExit, match=r"^error: /media/shut: Permission denied$"), explained():
        raise PermissionError(13, "Permission denied", "/media/shut")
    with pytest.raises(SystemExit, match=r"^error: the index is written to$"), explained():
        raise BlockingIOError(11, "the index is written to")
