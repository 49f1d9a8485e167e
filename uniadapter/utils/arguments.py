"""Types of command line options whose values have a range, for ``add_argument(type=...)``.

A number outside of it ends at the command line, with exit status 2 and the option's name, before a
file is read or memory is asked for.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import TypeVar

#: More of anything than a command can mean: beyond it a number is a slip of the keyboard.
MOST = 10**9
#: Seeds of NumPy and torch alike.
MOST_SEED = 2**32 - 1
#: Processes and threads of one machine.
MOST_PROCESSES = 1024
#: Sides of a picture in pixels, frames of a video, rows of a batch.
MOST_SIDE = 2**15
MOST_PORT = 2**16 - 1
_SHOWN = 40

Number = TypeVar("Number", int, float)


def _within(value: Number, text: str, least: Number, most: Number) -> Number:
    if value < least:
        raise _refused(f"{_short(text)} must be at least {least:g}")
    if value > most:
        raise _refused(f"{_short(text)} must be at most {most}")
    return value


def _refused(text: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(text)


def _short(text: str) -> str:
    """What was given, on one line and not all of a very long one."""
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return ascii(shown)[1:-1] or "''"


def whole(least: int = 1, most: int = MOST) -> Callable[[str], int]:
    """A whole number.

    Args:
        least: Smallest value.
        most: Largest value.
    """

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError as error:
            raise _refused(f"{_short(text)} is no whole number") from error
        return _within(value, text, least, most)

    return read


def number(
    least: float = 0.0, most: float = float(MOST), open_below: bool = False
) -> Callable[[str], float]:
    """A finite number.

    Args:
        least: Smallest value.
        most: Largest value.
        open_below: Whether ``least`` itself is refused.
    """

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError as error:
            raise _refused(f"{_short(text)} is no number") from error
        if not math.isfinite(value):
            raise _refused(f"{_short(text)} is no finite number")
        if open_below and value <= least:
            raise _refused(f"{_short(text)} must be above {least:g}")
        return _within(value, text, least, most)

    return read


#: So many of something, one at least.
natural = whole()
#: The seed of a random generator.
seed_number = whole(0, MOST_SEED)
#: Processes or threads, one at least.
processes = whole(1, MOST_PROCESSES)
#: Processes beside the command's own, which may be none.
any_processes = whole(0, MOST_PROCESSES)
#: Pixels of a side, frames of a video, rows of a batch.
side = whole(1, MOST_SIDE)
#: A size above 0.
positive = number(open_below=True)
