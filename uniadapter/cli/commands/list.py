"""List the project's models, by name and task.

    uniadapter list 'uniadapter_msrvtt*'
    uniadapter list --task 'Text-to-Video Retrieval' --exclude '*r128*' --long

`uniadapter config NAME` copies the config of one.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from fnmatch import fnmatchcase

from uniadapter.utils.model_index import ModelEntry, read_models
from uniadapter.utils.options import near_name


def parse_args(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="uniadapter list",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pattern", nargs="?", help="how names begin; * and ? stand for others")
    parser.add_argument("--exclude", nargs="+", default=[], metavar="PATTERN", help="not these")
    parser.add_argument("--task", help="models for this task, or words of it")
    parser.add_argument("--tasks", action="store_true", help="list the tasks of these models")
    parser.add_argument("--long", action="store_true", help="also config, tasks and weights")
    return parser.parse_args(argv)


def choose(
    models: Sequence[ModelEntry], pattern: str | None, exclude: Sequence[str], task: str | None
) -> list[ModelEntry]:
    """Models whose names fit a pattern and none of the others, and that are for a task."""

    def fits(name: str, pattern: str) -> bool:
        return fnmatchcase(name.lower(), f"{pattern.lower()}*")

    return [
        model
        for model in models
        if (pattern is None or fits(model.name, pattern))
        and not any(fits(model.name, other) for other in exclude)
        and (task is None or model.has_task(task))
    ]


def lines_of(models: Sequence[ModelEntry]) -> list[str]:
    """Names, configs, weights and tasks in columns."""
    rows = [(m.name, m.config, m.weights or "-", ", ".join(m.tasks) or "-") for m in models]
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
    return ["  ".join([*map(str.ljust, row, widths), row[-1]]) for row in rows]


def main(argv: list[str]) -> int:
    """List as the arguments say; the status is 1 where nothing fits."""
    args = parse_args(argv)
    models = read_models()
    if args.task is not None and not any(model.has_task(args.task) for model in models):
        tasks = sorted({task for model in models for task in model.tasks})
        raise ValueError(f"No model is of the task {args.task!r}.{near_name(args.task, tasks)}")
    found = choose(models, args.pattern, args.exclude, args.task)
    if args.tasks:
        lines = sorted({task for model in found for task in model.tasks})
    else:
        lines = lines_of(found) if args.long else [model.name for model in found]
    print("\n".join(lines) if lines else "No model fits.")
    return 0 if lines else 1
