"""Every command and script on bad words: our own last word, no traceback, nothing overwritten."""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bad_arguments import BELOW_ROOT, LONG, RIGHT, write_right, wrong_words
from tests.commands import main_of, names, options_of, parsers_of, run_quietly
from tests.helpers import draws
from uniadapter.registry import MODELS

_numbers = itertools.count()


class Started(BaseException):
    """All words were taken, and work begins."""


def start(*_: object, **__: object) -> None:
    raise Started


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_right(tmp_path_factory.mktemp("right"))


@pytest.fixture(autouse=True)
def _nothing_starts(monkeypatch: pytest.MonkeyPatch, right: Path) -> Iterator[None]:
    former = os.getcwd(), sys.path[:]
    monkeypatch.setattr(MODELS, "build", start)
    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr("torch.set_num_threads", lambda number: None)
    os.chdir(right)
    yield
    os.chdir(former[0])
    sys.path[:] = former[1]


def test_every_command_is_here():
    assert set(names()) == set(RIGHT), "give the new command a right command line"


def _line(name: str, folder: Path, out: Path) -> list[str]:
    return [word.format(w=folder, out=out) for word in RIGHT[name]]


def _parser(name: str) -> argparse.ArgumentParser:
    parsers = {parser.prog.rpartition(" ")[2]: parser for parser in parsers_of(name)}
    return parsers.get("".join(RIGHT[name][:1])) or next(iter(parsers.values()))


def _with(
    line: list[str], parser: argparse.ArgumentParser, place: argparse.Action | int, word: str
):
    """The line with a word in another place."""
    if isinstance(place, int):
        return [*line[:place], word, *line[place + 1 :]]
    option = place.option_strings[0]
    times = place.nargs if isinstance(place.nargs, int) else 1
    if option in line:
        at = line.index(option)
        return [*line[: at + 1], word, *line[at + 1 + times :]]
    return [*line, option, *[word] * times]


def _places(name: str, line: list[str]) -> list[tuple[argparse.Action | int, argparse.Action]]:
    """Every option that is no number, and every word without one."""
    parser = _parser(name)
    found: list[tuple[argparse.Action | int, argparse.Action]] = [
        (action, action)
        for action in options_of(parser)
        if action.option_strings
        and (action.type is None or getattr(action.type, "__name__", "") == "Path")
    ]
    positional = [action for action in options_of(parser) if not action.option_strings]
    at = 1 if len(parsers_of(name)) > 1 else 0
    for number, action in enumerate(positional):
        if number + at < len(line) and not line[number + at].startswith("--"):
            found.append((number + at, action))
    return found


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def outcome(name: str, line: list[str]) -> object:
    """The status and what was said; a traceback that is not our last word fails."""
    main = main_of(name)
    known = getattr(main, "__wrapped__", main).__globals__
    changed: dict[str, Any] = {LONG[name]: start} if name in LONG else {}
    if name in BELOW_ROOT:
        # Nothing is written into the checkout.
        changed["ROOT"] = Path.cwd()
    try:
        with mock.patch.dict(known, changed):
            status, said = run_quietly(main, line)
    except Started:
        return "started"
    except BaseException as error:
        raise AssertionError(
            f"{name} {line}\nended in {type(error).__name__}:\n{traceback.format_exc()[-2500:]}"
        ) from error
    if isinstance(status, str):
        assert status.startswith(("error: ", "stopped")), (line, status)
        assert len(status) < 4000, (line, status[:500], len(status))
    elif status == 2:
        assert "error: " in said, (line, said)
    return status


@pytest.mark.parametrize("name", names())
@settings(max_examples=draws(2, deep=150))
@given(data=st.data())
def test_a_bad_word(name: str, data: st.DataObject, right: Path, tmp_path_factory):
    out = tmp_path_factory.getbasetemp() / f"out{next(_numbers)}"
    line = _line(name, right, out)
    places = _places(name, line)
    if not places:
        return
    place, action = data.draw(st.sampled_from(places), "place")
    before = line[place] if isinstance(place, int) else _value(line, place)
    end = Path(before).suffix if len(before) < 200 else ""
    word = data.draw(st.sampled_from(wrong_words(right, action, end)), "word")
    kept = _content(right / "wrong")
    status = outcome(name, _with(line, _parser(name), place, word))
    if status not in (0, "started"):
        assert _content(right / "wrong") == kept, (name, word)


def _value(line: list[str], action: argparse.Action) -> str:
    option = action.option_strings[0]
    return line[line.index(option) + 1] if option in line else ""


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with mock.patch.dict(os.environ):
        os.environ.pop("UNIADAPTER_TRACEBACK", None)
