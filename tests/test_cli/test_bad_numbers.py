"""Every number that a command or a script takes has a range, which its parser keeps."""

from __future__ import annotations

import argparse
import io
import math
from contextlib import redirect_stderr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.commands import names, options_of, parsers_of
from tests.helpers import draws
from uniadapter.utils.arguments import MOST, number, positive, whole

BAD = ["", "x", "nan", "inf", "-inf", "-1", "1e400", "9" * 30, "9" * 5000, "0x10", "a\0b", "\ud800"]

#: The package of an older checkout, which it imports, has no types of numbers; its own test has
#: bad ones.
OTHERS = "analysis_tools/compare_checkouts.py"


def _required(parser: argparse.ArgumentParser, but: argparse.Action) -> list[str]:
    """Right words for all that must be there."""
    words: list[str] = []
    for action in parser._actions:
        if action is but or not action.required:
            continue
        choice = str(next(iter(action.choices))) if action.choices else "."
        words += [*action.option_strings[:1], choice]
    return words


def _given(parser: argparse.ArgumentParser, action: argparse.Action, text: str) -> list[str]:
    times = action.nargs if isinstance(action.nargs, int) else 1
    return [*_required(parser, action), action.option_strings[0], *[text] * times]


@pytest.mark.parametrize("name", [name for name in names() if name != OTHERS])
def test_bad_numbers_end_at_the_command_line(name: str):
    for parser in parsers_of(name):
        numbers = [a for a in options_of(parser) if callable(a.type) and a.option_strings]
        for action in numbers:
            if _is_path(action):
                continue
            for text in BAD:
                # Of an option argparse takes -1 and the like for another option.
                said = io.StringIO()
                with redirect_stderr(said), pytest.raises(SystemExit) as end:
                    parser.parse_args(_given(parser, action, text))
                assert end.value.code == 2, (action.dest, text)
                assert action.option_strings[0] in said.getvalue(), (action.dest, text)
                assert len(said.getvalue()) < 8000


def _is_path(action: argparse.Action) -> bool:
    return getattr(action.type, "__name__", "") == "Path"


@pytest.mark.parametrize("name", [name for name in names() if name != OTHERS])
def test_a_bare_int_has_no_range(name: str):
    for parser in parsers_of(name):
        bare = [a.dest for a in parser._actions if a.type in (int, float)]
        assert not bare, f"{bare}: give them a type of uniadapter.utils.arguments"


@settings(max_examples=draws(100))
@given(st.integers(-5, 5), st.integers(0, 10), st.integers(-20, 20))
def test_whole_is_its_range(least: int, more: int, value: int):
    read = whole(least, least + more)
    if least <= value <= least + more:
        assert read(str(value)) == value
    else:
        with pytest.raises(argparse.ArgumentTypeError, match="must be at"):
            read(str(value))


@settings(max_examples=draws(100))
@given(st.floats(), st.booleans())
def test_number_is_its_range(value: float, open_below: bool):
    read = number(-2.0, 3.0, open_below)
    if math.isfinite(value) and (-2 < value <= 3 or (value == -2 and not open_below)):
        assert read(str(value)) == value
    else:
        with pytest.raises(argparse.ArgumentTypeError):
            read(str(value))


def test_what_is_refused_is_said_in_a_few_words():
    for text in ("9" * 5000, "\ud800" * 5000, "a\nb"):
        with pytest.raises(argparse.ArgumentTypeError) as error:
            whole()(text)
        assert len(str(error.value)) < 300
        assert str(error.value).isprintable()
    assert positive("0.5") == 0.5
    assert whole()(str(MOST)) == MOST
