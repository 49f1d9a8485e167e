"""One message instead of a traceback where the user's input is at fault."""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

#: Set to anything but an empty text, tracebacks of all errors are shown.
TRACEBACK_VARIABLE = "UNIADAPTER_TRACEBACK"
_PACKAGE = Path(__file__).resolve().parents[1]


@contextmanager
def one_message(any_origin: bool = False) -> Iterator[None]:
    """End the process with ``error: ...`` and status 1 for an error that its text explains.

    These are the errors that the package raises on purpose: a missing file, a wrong option. What
    goes wrong without a ``raise`` of ours is a bug, and keeps its traceback.

    Args:
        any_origin: Also every other ``ValueError`` and ``FileNotFoundError``: where options are
            read, libraries complain about them too.

    Raises:
        SystemExit: Instead of such an error, unless the environment variable
            ``UNIADAPTER_TRACEBACK`` is set.
    """
    try:
        yield
    except Exception as error:
        explained = any_origin and isinstance(error, (ValueError, FileNotFoundError))
        if os.environ.get(TRACEBACK_VARIABLE) or not (explained or raised_on_purpose(error)):
            raise
        sys.exit(f"error: {_text(error)}")


@contextmanager
def options_named() -> Iterator[None]:
    """Turn a constructor's complaint about an argument into a ``ValueError``.

    Parts of a model without a type of their own (a tokenizer, the way of generating) are given
    their options by the constructors around them, where no check of the config sees them.

    Raises:
        ValueError: Instead of such a ``TypeError``.
    """
    try:
        yield
    except TypeError as error:
        if "__init__() " not in str(error) and not str(error).startswith("cfg should be a dict"):
            raise
        raise ValueError(f"model: {error}. Correct that option in the config.") from error


def raised_on_purpose(error: BaseException) -> bool:
    """Whether an error is of the package's own type, or comes from a ``raise`` in the package."""
    if type(error).__module__.partition(".")[0] == __name__.partition(".")[0]:
        return True
    if not isinstance(error, (ValueError, FileNotFoundError)) or error.__traceback__ is None:
        return False
    last: TracebackType = error.__traceback__
    while last.tb_next is not None:
        last = last.tb_next
    file = Path(last.tb_frame.f_code.co_filename)
    line = linecache.getline(str(file), last.tb_lineno)
    return _PACKAGE in file.resolve().parents and line.lstrip().startswith("raise")


def _text(error: Exception) -> str:
    """The message; of an error in a data loader's worker without the traceback around it."""
    text = str(error)
    if text.startswith("Caught "):
        text = text.rsplit(f"{type(error).__name__}: ", 1)[-1].rstrip()
    return text
