"""Draw losses, learning rates and metrics of trainings, several runs in one figure.

    python tools/visualization/draw_curves.py work_dirs/msrvtt_r32 work_dirs/other --out curves.png

A run is the folder that ``tools/train.py`` has written. ``curves.html`` is the same as a page.
"""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path

from uniadapter.utils.errors import one_message
from uniadapter.visualization.logs import Curve, read_curves
from uniadapter.visualization.plots import curves, load_matplotlib
from uniadapter.visualization.report import Entry, Panel, Report, png_path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Draw training curves of several runs.")
    parser.add_argument("runs", nargs="+", help="folders of trainings, or files of their vis_data")
    parser.add_argument("--out", required=True, help="picture to write (.png), a page beside it")
    parser.add_argument("--names", nargs="+", help="names of the runs (those of their folders)")
    parser.add_argument("--keys", nargs="+", help="what is drawn (all losses and metrics, lr)")
    parser.add_argument("--log", action="store_true", help="values on a logarithmic scale")
    return parser.parse_args(argv)


def names_of(args: argparse.Namespace) -> list[str]:
    """A name for every run, each another one.

    Raises:
        ValueError: If there are not as many names as runs, or two are equal.
    """
    if args.names is not None:
        names = args.names
    else:
        paths = [Path(run).resolve() for run in args.runs]
        names = [path.name if path.is_dir() else path.stem for path in paths]
        if len(set(names)) < len(names):
            names = list(args.runs)
    if len(names) != len(args.runs) or len(set(names)) < len(names):
        raise ValueError(
            f"{len(args.runs)} runs need as many different names, got {names}: set --names."
        )
    return names


def chosen_keys(runs: dict[str, dict[str, Curve]], wanted: list[str] | None) -> list[str]:
    """Keys that are drawn, losses first.

    Raises:
        ValueError: If no run has a wanted key.
    """
    known = list(dict.fromkeys(key for run in runs.values() for key in run))
    for key in wanted or ():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"--keys {key}: no run has logged it, only {known}.{hint}")
    if wanted:
        return list(dict.fromkeys(wanted))
    losses = [key for key in known if "loss" in key]
    return [
        *losses,
        *(key for key in known if key not in losses and key != "lr"),
        *(key for key in known if key == "lr"),
    ]


def draw(runs: dict[str, dict[str, Curve]], keys: list[str], log: bool) -> Report:
    """A figure a key."""
    panels = []
    for key in keys:
        found = {name: run.get(key, Curve()) for name, run in runs.items()}
        lines = {name: (curve.iterations, curve.values) for name, curve in found.items()}
        panels.append(Panel(curves(lines, key, "iteration", log)))
    lengths = [
        f"{name}: {max(max(c.iterations) for c in run.values())} iterations"
        for name, run in runs.items()
    ]
    return Report("Training curves", lengths, [Entry(f"{len(runs)} run(s)", (), panels)])


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Draw the picture and the page."""
    args = parse_args(argv)
    with one_message(any_origin=True):
        png_path(args.out)
        load_matplotlib()
        runs = {name: read_curves(run) for name, run in zip(names_of(args), args.runs, strict=True)}
        page = draw(runs, chosen_keys(runs, args.keys), args.log).save(args.out)
    print(f"{len(runs)} runs in {args.out} and {page}")


if __name__ == "__main__":
    main()
