"""How cost grows with k_test, frames and gallery size, as a plot and its points."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from uniadapter.utils.safe_io import atomic_write

from .measure import Sizes, measure_evaluation, measure_rerank

#: What is measured a panel; each point costs the naive way some seconds at BLIP's width.
POINTS = {"k_test": (16, 32, 64, 128), "frames": (1, 4, 8, 16), "gallery": (16, 32, 64)}
_LAYERS = {"k_test": 2, "frames": 2, "gallery": 1}
_LABELS = {
    "k_test": ("k_test", "seconds a query medium", "8 frames"),
    "frames": ("frames of the medium", "seconds a query medium", "32 texts"),
    "gallery": ("videos and texts", "seconds an evaluation", "2 frames, k_test 16"),
}


def load_matplotlib() -> Any:
    """Import matplotlib.

    Raises:
        RuntimeError: If it isn't installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise RuntimeError("--plot needs matplotlib: pip install matplotlib.") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def measure_points(
    config: str, points: dict[str, tuple[int, ...]], repeats: int, seed: int
) -> list[dict[str, Any]]:
    """Measure all points.

    Args:
        config (str): Config of a video retrieval model.
        points (dict): Values by panel, see :data:`POINTS`.
        repeats (int): Times that each is measured.
        seed (int): Of weights and inputs.

    Returns:
        list[dict]: ``config``, ``panel``, ``value``, ``layers``, ``naive_seconds``, ``seconds`` and
        ``threads`` of a point.
    """
    results = []
    for panel, values in points.items():
        sizes = Sizes(config, layers=_LAYERS[panel], seed=seed)
        for value in values:
            if panel == "gallery":
                k_test = min(16, value)
                point = replace(sizes, texts=value, media=value, frames=2, k_test=k_test)
                measured = measure_evaluation(point, ["fp32"], repeats)
            elif panel == "frames":
                measured = measure_rerank(replace(sizes, frames=value, texts=32), ["fp32"], repeats)
            else:
                measured = measure_rerank(replace(sizes, frames=8, texts=value), ["fp32"], repeats)
            results.append(
                {
                    "config": config,
                    "panel": panel,
                    "value": value,
                    "layers": _LAYERS[panel],
                    "naive_seconds": measured.naive_median(),
                    "seconds": measured.median("fp32"),
                    "threads": torch.get_num_threads(),
                }
            )
            print(f"{panel} {value}: measured", file=sys.stderr)
    return results


def draw(results: list[dict[str, Any]], path: str) -> None:
    """Draw the points and write them beside the picture as JSON.

    Args:
        results (list[dict]): See :func:`measure_points`.
        path (str): Picture; the points go to the same name with ``.json``.
    """
    pyplot = load_matplotlib()
    panels = list(dict.fromkeys(point["panel"] for point in results))
    figure, axes = pyplot.subplots(1, len(panels), figsize=(4.2 * len(panels), 3.6), squeeze=False)
    for axis, panel in zip(axes[0], panels, strict=True):
        part = [point for point in results if point["panel"] == panel]
        values = [point["value"] for point in part]
        axis.plot(values, [point["naive_seconds"] for point in part], "o-", label="naive")
        axis.plot(values, [point["seconds"] for point in part], "s-", label="uniadapter")
        label, unit, fixed = _LABELS[panel]
        axis.set_xlabel(label)
        axis.set_ylabel(unit)
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_xticks(values, [str(value) for value in values])
        layers = part[0]["layers"]
        axis.set_title(f"{layers} layer{'s' if layers > 1 else ''}, {fixed}", fontsize=10)
        axis.grid(alpha=0.3)
        axis.legend()
    source, threads = Path(results[0]["config"]).stem, results[0]["threads"]
    figure.suptitle(f"{source}, fp32, {threads} thread(s)", fontsize=10)
    figure.tight_layout()
    picture = io.BytesIO()
    figure.savefig(picture, dpi=150, format=Path(path).suffix[1:] or "png")
    atomic_write(path, picture.getvalue())
    pyplot.close(figure)
    atomic_write(Path(path).with_suffix(".json"), (json.dumps(results, indent=1) + "\n").encode())
