"""Figures of points and of curves, drawn by matplotlib."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from .letters import drawable

#: Colours and markers of groups, told apart without colours too (after Okabe and Ito).
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7a7a7a", "#000000")
_MARKERS = ("o", "^", "s", "D", "v", "P", "X", "*")


def load_matplotlib() -> tuple[Any, Any]:
    """Matplotlib's figure and its canvas, without a window and without its global state.

    Raises:
        ValueError: If it isn't installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ValueError("Figures need matplotlib: pip install matplotlib.") from error
    return Figure, FigureCanvasAgg


def label(text: str, most: int = 48) -> str:
    """A text as matplotlib draws it letter by letter.

    Args:
        text (str): Any text; ``$`` begins no formula, letters that no font has are spelled out.
        most (int): Letters kept, the rest is cut in the middle. Defaults to 48.
    """
    text = drawable(text)[0]
    if len(text) > most:
        text = f"{text[: most // 2 - 1]}…{text[-most // 2 + 1 :]}"
    # A legend leaves out what begins with an underscore.
    return (" " + text if text.startswith("_") else text).replace("$", r"\$")


def _picture(figure: Any, canvas: Any) -> Image.Image:
    buffer = io.BytesIO()
    canvas(figure).print_figure(buffer, format="png", dpi=110, bbox_inches="tight")
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def scatter(
    groups: Mapping[str, np.ndarray], title: str, axes: tuple[str, str] = ("", "")
) -> Image.Image:
    """Points of several groups on a plane.

    Args:
        groups (Mapping): Coordinates (P, 2) by the name of the group.
        title (str): What stands above.
        axes (tuple): Names of the two axes. Defaults to none, without ticks: only distances count.
    """
    new, canvas = load_matplotlib()
    figure = new(figsize=(6, 5.4))
    axis = figure.add_subplot()
    for number, (name, points) in enumerate(groups.items()):
        color, marker = _COLORS[number % len(_COLORS)], _MARKERS[number % len(_MARKERS)]
        axis.scatter(*points.T, s=16, c=color, marker=marker, alpha=0.65, lw=0, label=label(name))
    axis.set_title(label(title, 70), fontsize=12)
    axis.set_xlabel(label(axes[0]))
    axis.set_ylabel(label(axes[1]))
    if not any(axes):
        axis.set_xticks([])
        axis.set_yticks([])
    columns = min(2, len(groups))
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=columns, frameon=False)
    return _picture(figure, canvas)


def curves(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    title: str,
    x_label: str,
    log: bool = False,
    log_x: bool = False,
) -> Image.Image:
    """Curves of several runs.

    Args:
        lines (Mapping): Places and values, of equal length, by the name of the run; none of a run
            that is not in this figure. A run's colour is that of its place among all.
        title (str): What stands above.
        x_label (str): Name of the horizontal axis.
        log (bool): Values on a logarithmic scale. Defaults to False.
        log_x (bool): Places on a logarithmic scale. Defaults to False.
    """
    new, canvas = load_matplotlib()
    figure = new(figsize=(6, 3.8))
    axis = figure.add_subplot()
    for number, (name, (x, y)) in enumerate(lines.items()):
        if not len(x):
            # The run keeps its colour in the other figures.
            continue
        color, marker = _COLORS[number % len(_COLORS)], _MARKERS[number % len(_MARKERS)]
        few = marker if len(x) < 30 else None
        style = "-" if number < len(_COLORS) else "--"
        axis.plot(x, y, style, color=color, marker=few, ms=4, lw=1.4, label=label(name))
    axis.set_title(label(title, 70), fontsize=12)
    axis.set_xlabel(label(x_label))
    axis.set_xscale("log" if log_x else "linear")
    axis.set_yscale("log" if log else "linear")
    axis.grid(alpha=0.3)
    axis.legend(loc="upper left", bbox_to_anchor=(0, -0.16), ncols=1, frameon=False)
    return _picture(figure, canvas)
