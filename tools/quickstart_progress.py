"""Where the rows of the quickstart are: a line each, drawn again on a terminal."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

STEP = re.compile(r"Epoch\(train\) +\[(\d+)\]\[ *(\d+)/(\d+)\].*?eta: (\S+)")
TERMINAL_SECONDS, FILE_SECONDS = 2, 30


@dataclass(frozen=True)
class Row:
    """A line of the table: its name, its config and whether it is trained."""

    name: str
    config: str
    trained: bool = True

    def folder(self, out: Path) -> Path:
        """Where its logs and results are, in the folder ``out`` of all rows."""
        return out / Path(self.config).stem


def state_of(log: Path, trained: bool) -> str:
    """What a row is doing, from the output of its commands.

    Args:
        log: File of the output; need not exist yet.
        trained: Whether the row trains before it is tested.

    Returns:
        ``'starting'``, the epoch and the time that training still takes, or ``'testing'``.
    """
    if not trained:
        return "testing"
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    logged = list(STEP.finditer(text))
    if not logged:
        return "starting"
    last = logged[-1]
    # Every command tells of its environment first: this one is the test's.
    if "System environment:" in text[last.end() :]:
        return "testing"
    return f"training, epoch {last[1]}, step {last[2]} of {last[3]}, {last[4]} left"


class Progress:
    """Shows where each row is; the methods may be called by several threads.

    On a terminal there is one line a row, written over every two seconds; elsewhere (a file, a
    pipe) a line for each row under way, every half minute, and one for each that is done.

    Attributes:
        seconds (int): How often :meth:`show` is to be called.
    """

    def __init__(self, rows: Sequence[Row], out: Path, stream: TextIO | None = None) -> None:
        self._rows, self._out = rows, out
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty()
        self._begun: dict[Row, float] = {}
        self._done: dict[Row, str] = {}
        self._drawn = 0
        self.seconds = TERMINAL_SECONDS if self._live else FILE_SECONDS

    def begin(self, row: Row) -> None:
        """A row begins."""
        self._begun[row] = time.monotonic()

    def end(self, row: Row, result: str) -> None:
        """A row is done, with this result."""
        self._done[row] = result
        if not self._live:
            self._write([self._line(row)])

    def show(self) -> None:
        """Write where the rows are."""
        if self._live:
            back = f"\033[{self._drawn}F" if self._drawn else ""
            self._drawn = len(self._rows)
            self._write([f"\033[2K{self._line(row)}" for row in self._rows], back)
        else:
            running = [row for row in self._rows if row in self._begun and row not in self._done]
            self._write([self._line(row) for row in running])

    def _line(self, row: Row) -> str:
        width = max(len(row.name) for row in self._rows)
        if row in self._done:
            state = self._done[row]
        elif row in self._begun:
            state = state_of(row.folder(self._out) / "output.txt", row.trained)
            state += f" ({time.monotonic() - self._begun[row]:.0f} s)"
        else:
            state = "waiting"
        return f"  {row.name:{width}}  {state}"

    def _write(self, lines: Sequence[str], before: str = "") -> None:
        self._stream.write(before + "".join(f"{line}\n" for line in lines))
        self._stream.flush()
