"""Calls made as a user who owns nothing: no home, no name, and no right to write."""

from __future__ import annotations

import contextlib
import encodings.utf_8_sig  # noqa: F401  (the interpreter may lie where nobody may look)
import io
import os
import pickle
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from uniadapter.utils.errors import raised_on_purpose

#: No entry of the table of users has it.
NOBODY = 54321


@dataclass
class Outcome:
    """What became of a call.

    Attributes:
        value: What it returned.
        error: What it raised, in words; None where it returned.
        meant: Whether that is an error of the package's own, or the end of a command.
        printed: What it wrote to standard output and error.
        trace: Where it was raised.
    """

    value: Any = None
    error: str | None = None
    meant: bool = False
    printed: str = ""
    trace: str = ""


def as_nobody(call: Callable[[], Any], home: str | None = None) -> Outcome:
    """Make a call in a process of :data:`NOBODY`, in the folder ``/``.

    Args:
        call: The call; what it returns can be pickled.
        home: ``HOME``; None: there is none.
    """
    with tempfile.TemporaryFile() as answer:
        child = os.fork()
        if child == 0:
            try:
                _become_nobody(home)
                answer.write(pickle.dumps(_outcome(call)))
                answer.flush()
            finally:
                # Whatever it is, nothing of the tests goes on in this process.
                os._exit(0)
        os.waitpid(child, 0)
        answer.seek(0)
        content = answer.read()
    if not content:
        raise RuntimeError("the process of nobody ended without an answer")
    outcome: Outcome = pickle.loads(content)
    return outcome


def _become_nobody(home: str | None) -> None:
    for name in list(os.environ):
        if name == "HOME" or name.startswith("XDG_") or name.endswith("_HOME"):
            del os.environ[name]
    if home is not None:
        os.environ["HOME"] = home
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    os.chdir("/")
    # Threads of the process before are gone.
    torch.set_num_threads(1)


def _outcome(call: Callable[[], Any]) -> Outcome:
    stream = io.StringIO()
    outcome = Outcome()
    with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
        try:
            outcome.value = call()
        except SystemExit as end:
            outcome.error, outcome.meant = str(end.code), True
        except BaseException as error:
            outcome.error = f"{type(error).__name__}: {error}"
            outcome.meant = raised_on_purpose(error)
            outcome.trace = traceback.format_exc()
    outcome.printed = stream.getvalue()
    return outcome


def _possible() -> bool:
    if sys.platform != "linux" or os.getuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as folder:
        return not as_nobody(lambda: os.access(folder, os.W_OK)).value


needs_nobody = pytest.mark.skipif(
    not _possible(), reason="takes another user's rights, which only root can"
)


def readable(folder: Path) -> Path:
    """Let everybody read a folder and go through those around it, and nobody but root write."""
    for place in (folder, *folder.parents):
        if place != place.parent and not place.stat().st_mode & 0o001:
            place.chmod(place.stat().st_mode | 0o055)
    for place in folder.rglob("*"):
        place.chmod(place.stat().st_mode | (0o055 if place.is_dir() else 0o044))
    return folder
