"""Adapt the small backbone to the embedded videos and print one table.

    bash tools/quickstart.sh        # sets up .venv and draws the videos first

Every row is what a user would type: tools/train.py, then tools/test.py, with the options of
:data:`SHORTER`. The logs, the metrics, the table and the picture are in work_dirs/quickstart.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools.quickstart_progress import Progress, Row
from uniadapter.utils.arguments import natural, processes
from uniadapter.utils.errors import one_message
from uniadapter.utils.safe_io import atomic_write

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = ("t2v/R1", "t2v/R5", "t2v/R10")
VIDEOS = "data/toy_world/msrvtt/videos"
# What makes minutes of a quarter of an hour: half of the frames in training, three of the configs'
# four epochs, and videos read by a process beside the one that trains.
EPOCHS = 3
SHORTER = (
    "train_dataloader.dataset.pipeline.0.num_frames=4",
    "train_dataloader.num_workers=1",
)
# glibc's own thresholds for giving memory back. tools/train.py lowers them, which saves memory at
# real size; tensors this small would spend two fifths of a step in getting their pages again.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
}
ROWS = (
    Row("frozen backbone, zero-shot", "configs/tiny/msrvtt_zero_shot.py", trained=False),
    Row("linear probe", "configs/tiny/msrvtt_linear_probe.py"),
    Row("UniAdapter", "configs/tiny/msrvtt_r32.py"),
)
NEXT = """
What to type next, in this folder:
  {program} index {videos} --model {config} --checkpoint {adapter}
  {program} search "a red ball" --index {videos}
  {program} serve --index {videos}          the same as a page in your browser
  {python} tools/test.py {config} {adapter}          the last row again

Your own videos and pictures are searched the same way, `{program} index FOLDER --model NAME`, by a
model of full size: this one knows drawn shapes alone. docs/checkpoints.md says where weights are.

And in three lines of Python:
  from uniadapter import TextToVideoRetrievalInferencer
  find = TextToVideoRetrievalInferencer('{config}', '{videos}', pretrained='{adapter}')
  print(find('a red ball', topk=3))
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Three rows and a picture on the embedded data.")
    parser.add_argument("--out", default="work_dirs/quickstart", help="folder of the results")
    parser.add_argument("--epochs", type=natural, default=EPOCHS, help="epochs of what is trained")
    parser.add_argument("--jobs", type=processes, default=2, help="rows that run at the same time")
    parser.add_argument("--queries", type=natural, default=5, help="queries in the picture")
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
    env = {**ALLOCATOR, **os.environ}
    if threads is not None:
        env["OMP_NUM_THREADS"] = str(threads)
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


def evaluate(row: Row, out: Path, epochs: int, threads: int) -> dict[str, float]:
    """Train and test one row; return its metrics and its seconds."""
    folder = row.folder(out)
    options = [f"train_cfg.max_epochs={epochs}", *SHORTER]
    dump = [f"test_cfg.dump={folder / 'ranking.json'}"]
    found = train_and_test(row.config, folder, threads, row.trained, options, dump)
    found["seconds"] = found["train_seconds"] + found["test_seconds"]
    return found


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

    Models this small gain little from a second thread, so the cores are shared out among rows. The
    longest row, the last one, begins first.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    jobs = max(1, min(args.jobs, cores or 1))
    threads = max(1, (cores or 1) // jobs)
    progress = Progress(ROWS, out)

    def work(row: Row) -> dict[str, float]:
        progress.begin(row)
        metrics = evaluate(row, out, args.epochs, threads)
        progress.end(row, f"R@1 {metrics['t2v/R1']:.1f} in {metrics['seconds']:.0f} s")
        return metrics

    with ThreadPoolExecutor(jobs) as pool:
        futures = {row: pool.submit(work, row) for row in reversed(ROWS)}
        while wait(futures.values(), timeout=progress.seconds).not_done:
            progress.show()
        progress.show()
        return [futures[row].result() for row in ROWS]


def write_table(out: Path, found: Sequence[dict[str, float]]) -> str:
    """Write ``table.md`` and return its text."""
    lines = [
        (row.name, *parameters(row.config, row.trained), metrics)
        for row, metrics in zip(ROWS, found, strict=True)
    ]
    text = table(lines)
    atomic_write((out / "table.md"), (text + "\n").encode())
    return text


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Run the rows, print the table, draw the picture."""
    args = parse_args(argv)
    out = (ROOT / args.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    print(f"Training and testing {len(ROWS)} rows, a few minutes each; logs in {out}", flush=True)
    ranking = ROWS[-1].folder(out) / "ranking.json"
    picture = out / "queries.png"
    draw = ["tools/visualization/draw_rankings.py", str(ranking), str(picture)]
    try:
        found = evaluate_all(args, out)
        with ThreadPoolExecutor(1) as beside:
            drawn = beside.submit(run, [*draw, "--queries", str(args.queries)], out / "picture.txt")
            text = write_table(out, found)
            drawn.result()
    except RuntimeError as error:
        sys.exit(f"error: {error}")
    print(f"\n{text}\n")
    print(f"Picture of {args.queries} queries with their ranked videos: {picture}")
    print(f"Table: {out / 'table.md'}; {time.monotonic() - start:.0f} s in all")
    print(what_next(ROWS[-1], out))


def what_next(row: Row, out: Path) -> str:
    """What the reader may type next, with the adapter of ``row``; paths as seen from the root."""
    folder = row.folder(out)
    checkpoint = Path((folder / "last_checkpoint").read_text(encoding="utf-8").strip())
    named = {
        "adapter": checkpoint.with_name(f"{checkpoint.stem}_adapter"),
        "python": Path(sys.executable),
        "program": Path(sys.executable).with_name("uniadapter"),
    }
    shown = {
        name: str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)
        for name, path in named.items()
    }
    return NEXT.format(config=row.config, videos=VIDEOS, **shown)


if __name__ == "__main__":
    main()
