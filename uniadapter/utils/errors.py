"""One message instead of a traceback where the user's input is at fault."""

from __future__ import annotations

import errno
import io
import linecache
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

#: What to do where the system refuses to write, by its number.
_REMEDIES = {
    errno.ENOSPC: "free space there, or name a folder on another disk",
    errno.EDQUOT: "free space there, or name a folder on another disk",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EACCES: "make it writable, or name another place",
    errno.EPERM: "make it writable, or name another place",
    errno.EROFS: "the disk is read-only, name another place",
    errno.ENOTDIR: "a file stands where a folder is needed, name another place",
    errno.EEXIST: "a file stands where a folder is needed, name another place",
    errno.EISDIR: "it is a folder, name a file",
    errno.ENAMETOOLONG: "name a shorter one",
    errno.EIO: "check the disk",
}
#: Set to anything but an empty text, tracebacks of all errors are shown.
TRACEBACK_VARIABLE = "UNIADAPTER_TRACEBACK"
_PACKAGE = Path(__file__).resolve().parents[1]
# Of a checkout; where the package is installed, its scripts are in it.
_OURS = (_PACKAGE, _PACKAGE.parent / "tools")


class WriteError(OSError):
    """A file can't be written; what stood under its name before is unchanged.

    Args:
        path: The file, or the whole message, when ``reason`` is left out.
        reason: Why, with its number.
    """

    def __init__(self, path: str | Path, reason: BaseException | None = None) -> None:
        number = _number_of(reason)
        text = str(path) if reason is None else _unwritten(path, reason)
        super().__init__(text)
        self.errno = number
        self.filename = None if reason is None else str(path)
        self._text = text

    def __str__(self) -> str:
        return self._text

    def __reduce__(self) -> tuple[type[WriteError], tuple[str]]:
        return type(self), (self._text,)


def _number_of(reason: BaseException | None) -> int | None:
    """The system's number of a reason, which safetensors has in its text alone."""
    found = re.search(r"\(os error (\d+)\)", str(reason))
    number = getattr(reason, "errno", None)
    return int(found[1]) if number is None and found else number


def _unwritten(path: str | Path, reason: BaseException) -> str:
    number = _number_of(reason)
    said = getattr(reason, "strerror", None) or str(reason).partition("\n")[0]
    remedy = _REMEDIES.get(number or 0)
    if number is None and isinstance(reason, RuntimeError):
        # torch's writer, whatever the system said.
        remedy = "see that its disk has room"
    named = getattr(reason, "filename", None)
    inner = Path(str(named)).name if named is not None and not isinstance(named, int) else ""
    # A temporary name beside the file means the file.
    other = (
        f" at {named}" if inner and not inner.endswith(".tmp") and str(named) != str(path) else ""
    )
    return f"{path} can't be written ({said}{other})" + (f": {remedy}." if remedy else ".")


def disk_refuses(error: BaseException) -> bool:
    """Whether the system refused a file for a reason that a user can mend."""
    return isinstance(error, OSError) and (error.errno in _REMEDIES)


@contextmanager
def one_message(any_origin: bool = False) -> Iterator[None]:
    """End the process with ``error: ...`` and status 1 for an error that its text explains.

    These are the errors that the package and its scripts raise on purpose: a missing file, a wrong
    option. What goes wrong without a ``raise`` of ours is a bug, and keeps its traceback; but a
    disk that is full, read-only or not ours is none.

    Args:
        any_origin: Also every other ``ValueError`` and ``FileNotFoundError``: where options are
            read, libraries complain about them too.

    Raises:
        SystemExit: Instead of such an error, unless the environment variable
            ``UNIADAPTER_TRACEBACK`` is set.
    """
    # Names of files need not be text, and are printed all the same.
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        yield
    except Exception as error:
        explained = any_origin and isinstance(error, (ValueError, FileNotFoundError))
        explained = explained or raised_on_purpose(error) or disk_refuses(error)
        if os.environ.get(TRACEBACK_VARIABLE) or not explained:
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
    """Whether an error is of the package's own type, or comes from a ``raise`` of ours."""
    if type(error).__module__.partition(".")[0] == __name__.partition(".")[0]:
        return True
    if not isinstance(error, (ValueError, FileNotFoundError)) or error.__traceback__ is None:
        return False
    last: TracebackType = error.__traceback__
    while last.tb_next is not None:
        last = last.tb_next
    file = Path(last.tb_frame.f_code.co_filename)
    line = linecache.getline(str(file), last.tb_lineno)
    ours = any(folder in file.resolve().parents for folder in _OURS)
    return ours and line.lstrip().startswith("raise")


def _text(error: Exception) -> str:
    """The message; of an error in a data loader's worker without the traceback around it."""
    text = str(error)
    if type(error).__module__ == "builtins" and disk_refuses(error):
        text += f": {_REMEDIES[error.errno]}."  # type: ignore[attr-defined]
    if text.startswith("Caught "):
        text = text.rsplit(f"{type(error).__name__}: ", 1)[-1].rstrip()
    return text
