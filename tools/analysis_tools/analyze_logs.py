"""Draw curves of trainings, or say how long their iterations took, from MMEngine's logs.

    python tools/analysis_tools/analyze_logs.py plot_curve work_dirs/a work_dirs/b --out curves.png
    python tools/analysis_tools/analyze_logs.py cal_train_time work_dirs/a

The arguments are those of OpenMMLab's script of this name; a run is the folder of a training or a
``vis_data/scalars.json`` in it, resumed runs included. ``plot_curve`` draws what
``tools/visualization/draw_curves.py`` draws.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, pstdev

from uniadapter.utils.errors import one_message
from uniadapter.visualization.logs import read_times

# The other script, wherever this one is called from.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "visualization"))
import draw_curves


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Analyze logs of trainings.")
    commands = parser.add_subparsers(dest="command", required=True)
    plot = commands.add_parser("plot_curve", help="draw losses, learning rates and metrics")
    plot.add_argument("runs", nargs="+", metavar="RUN", help="folders or files of trainings")
    plot.add_argument("--keys", nargs="+", help="what is drawn (all losses and metrics, lr)")
    plot.add_argument("--legend", nargs="+", help="names of the runs (those of their folders)")
    plot.add_argument("--out", required=True, help="picture to write (.png), a page beside it")
    plot.add_argument("--log", action="store_true", help="values on a logarithmic scale")
    times = commands.add_parser("cal_train_time", help="seconds of an iteration, by epoch")
    times.add_argument("runs", nargs="+", metavar="RUN", help="folders or files of trainings")
    times.add_argument(
        "--include-outliers",
        action="store_true",
        help="also count the first logged line of every epoch, in which workers start",
    )
    return parser.parse_args(argv)


def train_time(times: Mapping[int, Sequence[float]], outliers: bool) -> list[str]:
    """What the times of a run say.

    Args:
        times: Seconds of an iteration by epoch, see :func:`read_times`.
        outliers: Whether the first line of every epoch counts.

    Returns:
        Lines of text.

    Raises:
        ValueError: If an epoch has one line alone, and that does not count.
    """
    kept = {epoch: list(found if outliers else found[1:]) for epoch, found in times.items()}
    short = [epoch for epoch, found in kept.items() if not found]
    if short:
        raise ValueError(
            f"epoch {short[0]} has one logged line, its first: use --include-outliers, or log more "
            "often (default_hooks.logger.interval)."
        )
    means = {epoch: fmean(found) for epoch, found in kept.items()}
    slowest, fastest = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
    every = [seconds for found in kept.values() for seconds in found]
    return [
        f"slowest epoch {slowest}, average time is {means[slowest]:.4f} s/iter",
        f"fastest epoch {fastest}, average time is {means[fastest]:.4f} s/iter",
        f"time std over epochs is {pstdev(means.values()):.4f}",
        f"average iter time: {fmean(every):.4f} s/iter",
    ]


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Draw, or print times."""
    args = parse_args(argv)
    if args.command == "plot_curve":
        options = [*args.runs, "--out", args.out, *(["--log"] if args.log else [])]
        options += ["--keys", *args.keys] if args.keys else []
        options += ["--names", *args.legend] if args.legend else []
        draw_curves.main(options)
        return
    with one_message(any_origin=True):
        for run in args.runs:
            print(f"----- {run}")
            times = read_times(run)
            try:
                print("\n".join(train_time(times, args.include_outliers)))
            except ValueError as error:
                raise ValueError(f"{run}: {error}") from error


if __name__ == "__main__":
    main()
