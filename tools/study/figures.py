"""The study's results as figures: against parameters, against steps, and what they cost."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from tools.study import vl
from tools.study.rows import PAPER_TASKS, ROWS, Row, find
from tools.study.tables import (
    COST_ROWS,
    MAIN,
    MEASURES,
    NAMES,
    PICTURES,
    VL_PICTURES,
    Report,
    relative,
)
from uniadapter.visualization.plots import load_matplotlib

_SWEEP = tuple(f"uniadapter_r{r}" for r in (64, 128, 256, 512, 768))
_ADAPTERS = ("adapter_r128", "adapter_r512")
_LABELS = {
    "linear_probe": "linear probe",
    "full_finetune": "full fine-tuning",
    "lora_r512": "LoRA",
    "parallel_adapter_r512": "Parallel Adapter",
    "st_adapter_r512": "ST-Adapter",
    "mam_r512": "MAM",
    "houlsby_r512_tied": "Houlsby's, tied",
    "unipt": "UniPT",
}
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7a7a7a", "#000000")
_MARKERS = ("s", "D", "v", "P", "X", "*", "<", ">")


def _rows(task: str, names: Iterable[str]) -> list[Row]:
    known = {row.name: row for row in ROWS if row.task == task}
    return [known[name] for name in names if name in known]


def _points(report: Report, rows: Iterable[Row]) -> list[tuple[int, float, float]]:
    """Trained parameters, mean and standard deviation of the main measure, of rows with results."""
    points = []
    for row in rows:
        values = list(report.values(row, MEASURES[row.task][MAIN[row.task]]).values())
        trained = report.trained(row)
        if values and trained is not None:
            points.append((trained, mean(values), stdev(values) if len(values) > 1 else 0.0))
    return points


def _draw(axis: Any, points: list[tuple[int, float, float]], **style: Any) -> None:
    if points:
        x, y, error = zip(*points, strict=True)
        axis.errorbar(x, y, yerr=error, capsize=2, ms=6, lw=1.4, **style)


def parameters(report: Report, path: Path) -> None:
    """The main measure against trained parameters, of both tasks (figures 1b and 3a)."""
    new, canvas = load_matplotlib()
    figure = new(figsize=(10, 4.4))
    for axis, task in zip(figure.subplots(1, 2), ("retrieval", "videoqa"), strict=True):
        lines = (("UniAdapter", _SWEEP, "#0072b2", "o-"), ("Adapter", _ADAPTERS, "#d55e00", "^-"))
        for label, names, color, form in lines:
            _draw(axis, _points(report, _rows(task, names)), fmt=form, color=color, label=label)
        for number, (name, label) in enumerate(_LABELS.items()):
            style = {"fmt": _MARKERS[number], "color": _COLORS[(number + 2) % len(_COLORS)]}
            _draw(axis, _points(report, _rows(task, [name])), label=label, **style)
        _label_parameters(axis, task, f"{MAIN[task]}, %")
    _finish_parameters(figure, 0.12)
    _save(figure, canvas, path)


def vl_parameters(report: Report, path: Path) -> None:
    """The average of VL-Adapter's tasks against trained parameters, of each language model."""
    new, canvas = load_matplotlib()
    figure = new(figsize=(13, 5))
    axes = figure.subplots(1, len(vl.VL_TASKS), sharex=True)
    for axis, task in zip(axes, vl.VL_TASKS, strict=True):
        for number, (name, label) in enumerate(vl.LABELS.items()):
            form = _MARKERS[number % len(_MARKERS)]
            # More methods than markers: those of the second round are hollow.
            fill = "none" if number >= len(_MARKERS) else "full"
            style = {"fmt": form, "fillstyle": fill, "color": _COLORS[number % len(_COLORS)]}
            _draw(axis, _points(report, _rows(task, [name])), label=label, **style)
        _label_parameters(axis, task, "average of the tasks' measures")
    _finish_parameters(figure, 0.2)
    _save(figure, canvas, path)


def _label_parameters(axis: Any, task: str, measure: str) -> None:
    axis.set_xscale("log")
    axis.set_xlabel("trained parameters, heads included")
    axis.set_ylabel(measure)
    axis.set_title(NAMES[task], fontsize=11)
    axis.grid(alpha=0.3)


def _finish_parameters(figure: Any, below: float) -> None:
    """Name all points below the axes, each name once.

    Args:
        figure: The figure.
        below: The share of its height that the names take.
    """
    named = {}
    for axis in figure.axes:
        handles, labels = axis.get_legend_handles_labels()
        named.update(dict(zip(labels, handles, strict=True)))
    if named:
        figure.legend([*named.values()], [*named], loc="lower center", ncols=5, frameon=False)
    figure.tight_layout(rect=(0, below, 1, 1))


def steps(report: Report, path: Path) -> None:
    """R@Mean on the held-out videos against training steps (figure 3b)."""
    new, canvas = load_matplotlib()
    figure = new(figsize=(6.4, 4.2))
    axis = figure.subplots()
    for number, row in enumerate(row for row in ROWS if row.curve):
        curves = [result["curve"] for result in report.results(row).values() if "curve" in result]
        if not curves:
            continue
        x = [step for step, _ in curves[0]]
        y = [[point[1]["t2v/RMean"] for point in curve] for curve in curves]
        middle = [mean(column) for column in zip(*y, strict=True)]
        label = {"uniadapter_r512": "UniAdapter", "adapter_r512": "Adapter", **_LABELS}[row.name]
        color = _COLORS[number % len(_COLORS)]
        axis.plot(x, middle, f"{_MARKERS[number]}-", color=color, ms=5, lw=1.4, label=label)
        if len(curves) > 1:
            low, high = ([pick(column) for column in zip(*y, strict=True)] for pick in (min, max))
            axis.fill_between(x, low, high, color=color, alpha=0.15, lw=0)
    axis.set_xlabel("training steps")
    axis.set_ylabel("R@Mean on held-out videos, %")
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    if axis.lines:
        axis.legend(frameon=False)
    figure.tight_layout()
    _save(figure, canvas, path)


def costs(report: Report, path: Path) -> None:
    """Time and memory of a step relative to full fine-tuning (table 10)."""
    new, canvas = load_matplotlib()
    figure = new(figsize=(10, 3.8))
    for axis, task in zip(
        figure.subplots(1, 2, sharey=True), ("retrieval", "videoqa"), strict=True
    ):
        for number, (key, label) in enumerate(
            (("step_cpu_seconds", "CPU time"), ("step_bytes", "memory above the built model"))
        ):
            found = [relative(report, find(f"{task}/{name}"), key) for _, name in COST_ROWS]
            places = [place + 0.38 * number for place in range(len(found))]
            axis.barh(
                places, [f or 0.0 for f in found], height=0.36, color=_COLORS[number], label=label
            )
        axis.axvline(1, color="#7a7a7a", lw=0.8)
        axis.set_yticks(
            [p + 0.19 for p in range(len(COST_ROWS))], [label for label, _ in COST_ROWS]
        )
        axis.set_xlabel("of full fine-tuning's")
        axis.set_title(NAMES[task], fontsize=11)
        axis.grid(alpha=0.3, axis="x")
    figure.axes[0].invert_yaxis()
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=2, frameon=False)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    _save(figure, canvas, path)


def _save(figure: Any, canvas: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas(figure).print_figure(str(path), format="png", dpi=110)


def write_figures(report: Report, folder: Path) -> list[Path]:
    """Draw all figures of the report's tasks; return their paths.

    Those of VL-Adapter's tasks are drawn when a row of them has a result.

    Raises:
        ValueError: If matplotlib isn't installed.
    """
    paths = []
    for name, draw in zip(PICTURES, (parameters, steps, costs), strict=True):
        if set(PAPER_TASKS) <= set(report.tasks):
            paths.append(folder / name)
            draw(report, paths[-1])
    if any(report.results(row) for row in report.rows if row.task in vl.VL_TASKS):
        paths += [folder / name for name in VL_PICTURES]
        vl_parameters(report, paths[-1])
    return paths
