"""What the commands around an index share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from uniadapter.search.reading import ReadOptions
from uniadapter.utils.arguments import any_processes, positive, side
from uniadapter.utils.cfg_options import CfgOptions
from uniadapter.utils.errors import TRACEBACK_VARIABLE, one_message

#: Shots that are encoded at once unless said otherwise.
BATCH_SIZE = 8


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Options that say which model, and where it runs."""
    parser.add_argument(
        "--model",
        help="name of a model, a config, or the folder of an export; the index remembers it. A "
        "config is a program that runs when it is read: open only trusted ones",
    )
    parser.add_argument("--checkpoint", help="its weights: a file, or the folder of an adapter")
    parser.add_argument("--device", help="where it runs, such as cuda:0 or cpu")


def add_encoding_options(parser: argparse.ArgumentParser, workers: int) -> None:
    """Options that say how files become shots and shots become numbers; None where not given.

    Args:
        parser: Of the command.
        workers: Readers unless said otherwise, for the help.
    """
    add_model_options(parser)
    parser.add_argument(
        "--cfg-options", nargs="+", action=CfgOptions, metavar="KEY=VALUE", help="change the config"
    )
    seconds = f"{ReadOptions().shot_seconds:g}"
    parser.add_argument(
        "--shot-seconds", type=positive, help=f"length of a shot of a video ({seconds})"
    )
    parser.add_argument(
        "--frames",
        type=positive,
        metavar="FPS",
        help="folders that hold pictures alone are videos of so many frames a second",
    )
    parser.add_argument(
        "--no-tokens", action="store_true", help="keep no tokens: smaller, and nothing is re-ranked"
    )
    parser.add_argument(
        "--workers", type=any_processes, help=f"readers of each process ({workers})"
    )
    parser.add_argument("--batch-size", type=side, help=f"shots encoded at once ({BATCH_SIZE})")


def reading_of(args: argparse.Namespace, former: ReadOptions | None = None) -> ReadOptions:
    """How files become shots: as is asked for, else as before.

    Args:
        args: With :func:`add_encoding_options`.
        former: As before; None: as by default.
    """
    known = former or ReadOptions()
    seconds = known.shot_seconds if args.shot_seconds is None else args.shot_seconds
    return ReadOptions(seconds, known.frame_rate if args.frames is None else args.frames)


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
