"""Steps of methods beside those of full fine-tuning, and the columns that tables have of them."""

from __future__ import annotations

from typing import Any

#: Titles of :func:`cells`.
TITLES = (
    *("method", "trained", "s/step", "CPU s/step", "to full"),
    *("peak GiB", "above the built model", "to full"),
)


def relate(runs: dict[str, dict[str, Any]]) -> None:
    """Add to runs what they are relative to the first, which is full fine-tuning.

    Args:
        runs (dict): By method what ``measure_apart`` gives. Gets ``above_gib``, above the built
            model, ``time`` (of CPU seconds) and ``memory`` (of that above the built model).
    """
    full = next(iter(runs.values()))
    for result in runs.values():
        result["above_gib"] = round(result["peak_gib"] - result["built_gib"], 3)
    for result in runs.values():
        result["time"] = result["cpu_seconds_per_step"] / full["cpu_seconds_per_step"]
        result["memory"] = result["above_gib"] / max(full["above_gib"], 1e-3)


def cells(name: str, result: dict[str, Any]) -> list[str]:
    """A row's cells under :data:`TITLES`."""
    return [
        name,
        f"{result['trainable']:,}",
        f"{result['seconds_per_step']:.2f}",
        f"{result['cpu_seconds_per_step']:.2f}",
        f"{result['time']:.2f}",
        f"{result['peak_gib']:.2f}",
        f"{result['above_gib']:.2f}",
        f"{result['memory']:.2f}",
    ]


def as_lines(titles: tuple[str, ...], rows: list[list[str]], text: int = 0) -> list[str]:
    """A table in Markdown.

    Args:
        titles (tuple): Of the columns.
        rows (list): Cells a row.
        text (int): Last columns that hold text rather than numbers, beside the first one.
    """
    marks = ["---", *["---:"] * (len(titles) - 1 - text), *["---"] * text]
    return ["| " + " | ".join(row) + " |" for row in (titles, marks, *rows)]
