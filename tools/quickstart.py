"""Adapt the small backbone to the embedded videos and print one table.

    bash tools/quickstart.sh        # sets up .venv and draws the videos first

Every row is what a user would type: tools/train.py, then tools/test.py. The logs, the metrics, the
table and the picture are in work_dirs/quickstart.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = ("t2v/R1", "t2v/R5", "t2v/R10")
REPORT_SECONDS = 30


@dataclass(frozen=True)
class Row:
    """A line of the table: its name, its config and whether it is trained."""

    name: str
    config: str
    trained: bool = True


ROWS = (
    Row("frozen backbone, zero-shot", "configs/tiny/msrvtt_zero_shot.py", trained=False),
    Row("linear probe", "configs/tiny/msrvtt_linear_probe.py"),
    Row("UniAdapter", "configs/tiny/msrvtt_r32.py"),
)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Three rows and a picture on the embedded data.")
    parser.add_argument("--out", default="work_dirs/quickstart", help="folder of the results")
    parser.add_argument("--epochs", type=int, help="instead of the epochs of the configs")
    parser.add_argument("--jobs", type=int, default=2, help="rows that run at the same time")
    parser.add_argument("--queries", type=int, default=5, help="queries in the picture")
    return parser.parse_args(argv)


def run(command: list[str], log: Path, threads: int | None = None) -> None:
    """Run a command of this repository; its output goes to ``log``.

    Args:
        command: Script and arguments.
        log: File that its output is appended to.
        threads: Threads it computes with; None leaves it to the machine.

    Raises:
        RuntimeError: When it fails; the message ends with the last lines of the log.
    """
    env = dict(os.environ) if threads is None else {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with log.open("a", encoding="utf-8") as file:
        program = [sys.executable, *command]
        done = subprocess.run(program, cwd=ROOT, stdout=file, stderr=file, env=env)
    if done.returncode:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
        raise RuntimeError(f"`python {' '.join(command)}` failed, see {log}:\n{tail}")


def parameters(config: str, trained: bool) -> tuple[int, int]:
    """Trainable and all parameters of the model of ``config``."""
    from uniadapter.models.adapters.state import count_parameters
    from uniadapter.registry import MODELS
    from uniadapter.utils.config import load_config

    counts = count_parameters(MODELS.build(load_config(str(ROOT / config)).model))
    return (counts["trainable"] if trained else 0), counts["total"]


def backbone_of(config: str) -> str:
    """The file of the pre-trained backbone of ``config``, relative to the repository."""
    from uniadapter.utils.config import load_config

    return load_config(str(ROOT / config)).model.pretrained


def train_and_test(
    config: str,
    folder: Path,
    threads: int,
    trained: bool = True,
    options: Sequence[str] = (),
    test_options: Sequence[str] = (),
) -> dict[str, float]:
    """Train and test a config as a user would, in processes of their own.

    Args:
        config: Path of the config, relative to the repository.
        folder: Where logs, checkpoints and ``metrics.json`` go.
        threads: Threads that both compute with.
        trained: False tests the backbone as it is.
        options: ``KEY=VALUE`` for both commands.
        test_options: ``KEY=VALUE`` for the test alone.

    Returns:
        The metrics that the test wrote, ``train_seconds`` and ``test_seconds``.

    Raises:
        RuntimeError: When a command fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log, metrics = folder / "output.txt", folder / "metrics.json"
    for stale in (log, metrics):
        stale.unlink(missing_ok=True)
    start = time.monotonic()
    if trained:
        train = ["tools/train.py", config, "--work-dir", str(folder), "--no-validate"]
        run([*train, *_overrides(options)], log, threads)
        checkpoint = (folder / "last_checkpoint").read_text(encoding="utf-8").strip()
    else:
        checkpoint = backbone_of(config)
    middle = time.monotonic()
    test = ["tools/test.py", config, checkpoint, "--work-dir", str(folder), "--out", str(metrics)]
    run([*test, *_overrides([*options, *test_options])], log, threads)
    found = json.loads(metrics.read_text(encoding="utf-8"))
    seconds = {"train_seconds": middle - start, "test_seconds": time.monotonic() - middle}
    return {**found, **seconds}


def _overrides(options: Sequence[str]) -> list[str]:
    return ["--cfg-options", *options] if options else []


def evaluate(row: Row, out: Path, epochs: int | None, threads: int) -> dict[str, float]:
    """Train and test one row; return its metrics and its seconds."""
    folder = out / Path(row.config).stem
    options = [f"train_cfg.max_epochs={epochs}"] if epochs else []
    dump = [f"test_cfg.dump={folder / 'ranking.json'}"]
    found = train_and_test(row.config, folder, threads, row.trained, options, dump)
    found["seconds"] = found["train_seconds"] + found["test_seconds"]
    return found


def print_progress(row: Row, out: Path) -> None:
    """Print how far the training of a row is, if it is under way."""
    log = out / Path(row.config).stem / "output.txt"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    found = re.search(r"Epoch\(train\) +(\[.*?\]\[.*?\]).*?eta: (\S+)", lines[-1] if lines else "")
    if found:
        print(f"    {row.name}: epoch {found[1]}, {found[2]} of training left", flush=True)


def table(lines: list[tuple[str, int, int, dict[str, float]]]) -> str:
    """Markdown table of (name, trainable, total, metrics)."""
    rows = ["| method | trainable | share | t2v R@1 | R@5 | R@10 | seconds |"]
    rows.append("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, trainable, total, metrics in lines:
        recalls = " | ".join(f"{metrics[column]:.1f}" for column in COLUMNS)
        share = f"{trainable / total:.1%}"
        rows.append(f"| {name} | {trainable:,} | {share} | {recalls} | {metrics['seconds']:.0f} |")
    return "\n".join(rows)


def evaluate_all(args: argparse.Namespace, out: Path) -> list[dict[str, float]]:
    """Metrics of all rows, ``args.jobs`` at a time.

    Models this small gain little from a second thread, so the cores are shared out among rows.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    jobs = max(1, min(args.jobs, cores or 1))
    threads = max(1, (cores or 1) // jobs)

    def work(row: Row) -> dict[str, float]:
        metrics = evaluate(row, out, args.epochs, threads)
        print(
            f"  {row.name}: R@1 {metrics['t2v/R1']:.1f} in {metrics['seconds']:.0f} s", flush=True
        )
        return metrics

    with ThreadPoolExecutor(jobs) as pool:
        # The longest row is the last one: it must not wait for the others.
        futures = [pool.submit(work, row) for row in reversed(ROWS)]
        while wait(futures, timeout=REPORT_SECONDS).not_done:
            for row in ROWS:
                print_progress(row, out)
        return [future.result() for future in reversed(futures)]


def main(argv: list[str] | None = None) -> None:
    """Run the rows, print the table, draw the picture."""
    args = parse_args(argv)
    out = (ROOT / args.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    print(f"Training and testing {len(ROWS)} rows, a few minutes each; logs in {out}", flush=True)
    try:
        found = evaluate_all(args, out)
    except RuntimeError as error:
        sys.exit(f"error: {error}")
    lines = [
        (row.name, *parameters(row.config, row.trained), metrics)
        for row, metrics in zip(ROWS, found, strict=True)
    ]
    text = table(lines)
    (out / "table.md").write_text(text + "\n", encoding="utf-8")
    print(f"\n{text}\n")
    picture = out / "queries.png"
    ranking = out / Path(ROWS[-1].config).stem / "ranking.json"
    draw = ["tools/visualization/draw_rankings.py", str(ranking), str(picture)]
    run([*draw, "--queries", str(args.queries)], out / "picture.txt")
    print(f"Picture of {args.queries} queries with their ranked videos: {picture}")
    print(f"Table: {out / 'table.md'}; {time.monotonic() - start:.0f} s in all")


if __name__ == "__main__":
    main()
