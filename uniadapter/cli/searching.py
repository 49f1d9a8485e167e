"""What the commands around an index share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from uniadapter.utils.errors import TRACEBACK_VARIABLE, one_message


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Options that say which model, and where it runs."""
    parser.add_argument(
        "--model",
        help="name of a model, a config, or the folder of an export; the index remembers it. A "
        "config is a program that runs when it is read: open only trusted ones",
    )
    parser.add_argument("--checkpoint", help="its weights: a file, or the folder of an adapter")
    parser.add_argument("--device", help="where it runs, such as cuda:0 or cpu")


@contextmanager
def explained() -> Iterator[None]:
    """One line instead of a traceback, also for a disk that is full or can't be written to.

    What is logged meanwhile goes to standard error: the results alone are printed.

    Raises:
        SystemExit: Instead of such an error.
    """
    with one_message(), redirect_stdout(sys.stderr):
        try:
            yield
        except OSError as error:
            if isinstance(error, FileNotFoundError) or os.environ.get(TRACEBACK_VARIABLE):
                raise
            named = error.filename is not None and error.strerror is not None
            said = f"{os.fsdecode(error.filename)}: {error.strerror}" if named else error.strerror
            sys.exit(f"error: {said or error}")


def shown(path: str) -> str:
    """A name on one line, whatever it holds."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in path
    )
