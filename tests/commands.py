"""All commands and scripts of the project with their parsers, found without a list of them."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from unittest import mock

from tests.helpers import ROOT, load_tool
from uniadapter.cli.main import known_commands
from uniadapter.cli.main import main as command_line

#: Commands that are scripts of ``tools/`` under another name, and are tested there.
ALIASES = ("convert", "publish", "test", "train", "verify")
Main = Callable[[list[str]], object]


def names() -> list[str]:
    """Every command by its name, and every script by its path below ``tools/``."""
    scripts = [
        path.relative_to(ROOT / "tools").as_posix()
        for path in sorted((ROOT / "tools").rglob("*.py"))
        if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")
    ]
    return [name for name in known_commands() if name not in ALIASES] + scripts


@contextmanager
def beside(folder: Path) -> Iterator[None]:
    """Modules beside a script can be imported, as where it runs."""
    former = sys.path[:]
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = former


@cache
def main_of(name: str) -> Main:
    """What a command calls."""
    if not name.endswith(".py"):
        return lambda argv: command_line([name, *argv])
    with beside((ROOT / "tools" / name).parent):
        main: Main = load_tool(name).main
    return main


class _Parsers(BaseException):
    """Stops a command where it parses."""


@cache
def parsers_of(name: str) -> tuple[argparse.ArgumentParser, ...]:
    """The parsers of a command; of one with commands of its own theirs."""

    def caught(self: argparse.ArgumentParser, *_: object, **__: object) -> None:
        raise _Parsers(self)

    with mock.patch.object(argparse.ArgumentParser, "parse_known_args", caught):
        try:
            main_of(name)([])
        except _Parsers as found:
            parser: argparse.ArgumentParser = found.args[0]
    inner = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return tuple(inner[0].choices.values()) if inner else (parser,)


def options_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """What takes values, without what a command hands to itself."""
    return [
        action
        for action in parser._actions
        if action.nargs != 0 and action.help != argparse.SUPPRESS
    ]


def run_quietly(main: Main, argv: list[str]) -> tuple[object, str]:
    """Run a command in this process.

    Returns:
        The exit status (a string is a last word, as of ``sys.exit``), and what was said on
        standard error.
    """
    said = io.StringIO()
    # As strict as a terminal's: names need not be text.
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with redirect_stderr(said), redirect_stdout(out):
        try:
            status = main(argv) or 0
        except SystemExit as end:
            status = 0 if end.code is None else end.code
    return status, said.getvalue()
