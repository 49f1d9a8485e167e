"""Command lines of several kinds of measurement, each of which reads some of the options."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence


def parse_given(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None
) -> tuple[argparse.Namespace, set[str]]:
    """Read a command line, and which options stand in it.

    Args:
        parser (ArgumentParser): Of the command; it requires no argument.
        argv (Sequence[str], optional): The arguments. None: those of the process.

    Returns:
        tuple: The values, and the names of the options that were given, with their default too.
    """
    defaults = vars(parser.parse_args([]))
    # Told by its identity; empty, so that an action that adds to what is there begins anew.
    unset: dict[str, str] = {}
    start = argparse.Namespace(**dict.fromkeys(defaults, unset))
    values = vars(parser.parse_args(argv, start))
    given = {name for name, value in values.items() if value is not unset}
    read = {name: value if name in given else defaults[name] for name, value in values.items()}
    return argparse.Namespace(**read), given


def refuse_unread(
    parser: argparse.ArgumentParser, given: Iterable[str], read: Iterable[str], what: str
) -> None:
    """End with an error if an option was given that what is measured doesn't read.

    Args:
        parser (ArgumentParser): Of the command.
        given (Iterable[str]): See :func:`parse_given`.
        read (Iterable[str]): Names of the options that are read.
        what (str): What is measured, as the message calls it.
    """
    unread = sorted(set(given) - set(read))
    if unread:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in unread)
        parser.error(f"{what} does not read {names}: leave it out")
