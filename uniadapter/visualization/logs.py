"""What a training has logged: the lines of MMEngine's ``vis_data`` as curves over iterations."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uniadapter.utils.json_files import brief, parse_json

_NO_VALUES = ("step", "iter", "epoch", "time", "data_time", "memory")


@dataclass
class Curve:
    """Values of one key of a run, and the iterations that they belong to."""

    iterations: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


def log_files(run: str | Path) -> list[Path]:
    """The logs of a run, the oldest first.

    Args:
        run (str | Path): A folder that ``tools/train.py`` has written, one of its dated folders, or
            a file of ``vis_data``.

    Raises:
        FileNotFoundError: If there is no such file or folder, or no log in it.
        ValueError: If a folder in it can't be listed.
    """
    path = Path(run)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"{path} does not exist: name a run's folder (work_dirs/CONFIG).")
    # Every start of a training has a dated folder with the same lines in two files.
    try:
        found = sorted(path.glob("**/vis_data/scalars.json"), key=lambda f: f.parent.parent.name)
        if not found and path.name == "vis_data":
            found = sorted(path.glob("scalars.json"))
    except OSError as error:
        # Some folders below the system's root can't be listed.
        raise ValueError(
            f"{path} can't be looked through ({error}): name a run's folder (work_dirs/CONFIG)."
        ) from error
    if not found:
        raise FileNotFoundError(
            f"{path} has no vis_data/scalars.json: it is no folder of a training, or none of its "
            "iterations was logged (default_hooks.logger.interval)."
        )
    return found


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The lines of a log, but for a last one that a killed training left half written.

    Args:
        path (Path): The file.

    Raises:
        ValueError: If a line is no JSON object, or counts in something else than whole numbers.
    """
    rows = path.read_text(encoding="utf-8", errors="replace").splitlines()
    found = []
    for number, row in enumerate(rows, 1):
        if not row.strip():
            continue
        try:
            line = parse_json(row)
        except ValueError as error:
            if number == len(rows):
                # A training that was killed while it wrote.
                break
            raise ValueError(f"{path}, line {number} is no JSON: {error}") from error
        if not isinstance(line, dict):
            raise ValueError(
                f"{path}, line {number} is no JSON object: it is no log of MMEngine's."
            )
        for key in ("iter", "epoch"):
            if type(line.get(key, 0)) is not int:
                raise ValueError(
                    f"{path}, line {number}: {key!r} is {brief(line[key])}, no whole number: it is "
                    "no log of MMEngine's."
                )
        found.append(line)
    return found


def read_curves(run: str | Path) -> dict[str, Curve]:
    """Losses, learning rates and metrics of a run by their names in the log.

    A training that was resumed has several logs: what a later one has computed again takes the
    place of what was there. A validation belongs to the last logged iteration before it.

    Args:
        run (str | Path): See :func:`log_files`.

    Returns:
        dict: Curves by key.

    Raises:
        FileNotFoundError: See :func:`log_files`.
        ValueError: If a file is no log, or no iteration of a training is in it.
    """
    curves: dict[str, Curve] = {}
    for start, lines in _trainings(run):
        for curve in curves.values():
            _cut(curve, start)
        _append(curves, lines)
    return {key: curve for key, curve in curves.items() if curve.values}


def read_times(run: str | Path) -> dict[int, list[float]]:
    """Seconds of an iteration, as every logged line of a training has them, by epoch.

    A line's is the mean over the iterations since the last line (over the log processor's window);
    what a resumed training has computed again counts as it was then.

    Args:
        run (str | Path): See :func:`log_files`.

    Returns:
        dict: By epoch from 1; loops that count no epochs have one.

    Raises:
        FileNotFoundError: See :func:`log_files`.
        ValueError: As :func:`read_curves`, or if no line has a time.
    """
    kept: dict[int, tuple[int, float]] = {}
    for start, lines in _trainings(run):
        kept = {iteration: pair for iteration, pair in kept.items() if iteration < start}
        for line in lines:
            # Lines of a validation have times of their own, and no iteration.
            if "iter" in line and isinstance(line.get("time"), int | float):
                kept[line["iter"]] = (line.get("epoch", 1), _finite(line["time"]))
    if not kept:
        raise ValueError(f"{run}: no line has a time: keep default_hooks.timer, IterTimerHook.")
    times: dict[int, list[float]] = {}
    for iteration in sorted(kept):
        epoch, seconds = kept[iteration]
        times.setdefault(epoch, []).append(seconds)
    return times


def _trainings(run: str | Path) -> list[tuple[int, list[dict[str, Any]]]]:
    """Lines of each start of a training, and the first iteration that it has logged."""
    files, found = log_files(run), []
    for path in files:
        lines = lines_of(path)
        starts = [int(line["iter"]) for line in lines if isinstance(line.get("iter"), int)]
        # Else a test's figures, in a folder of their own.
        if starts:
            found.append((starts[0], lines))
    if not found:
        raise ValueError(
            f"{', '.join(map(str, files))}: no iteration of a training was logged "
            "(default_hooks.logger.interval iterations make a line)."
        )
    return found


def _finite(value: float) -> float:
    """A number of a log; NaN where a float can't hold it."""
    return float(value) if abs(value) <= sys.float_info.max else math.nan


def _cut(curve: Curve, start: int) -> None:
    kept = sum(iteration < start for iteration in curve.iterations)
    del curve.iterations[kept:], curve.values[kept:]


def _append(curves: dict[str, Curve], lines: Iterable[dict[str, Any]]) -> None:
    at = 0
    for line in lines:
        at = line.get("iter", at)
        for key, value in line.items():
            if key in _NO_VALUES or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            curve = curves.setdefault(key, Curve())
            curve.iterations.append(at)
            curve.values.append(_finite(value))
