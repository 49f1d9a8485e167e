"""Train and test the twins of all benchmarks and backbones on the embedded data; write tables.

    python tools/analysis_tools/run_tiny.py
    python tools/analysis_tools/run_tiny.py --only didemo coco --methods r32 --threads 1

Every row is what a user would type (tools/train.py, then tools/test.py); the figures are those that
the test wrote as JSON. Finished rows are kept in WORK_DIR/CONFIG/result.json and not run again
unless their config, the backbone or the data changed. There are three tables, of the benchmarks on
the small BLIP, of Flickr30K on the other small backbones and of UniPT's own ones; they hold every
row whose result is of the present config and data. A row that failed is reported, left out, and
makes the exit code 1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tools.quickstart import ROOT, backbone_of, parameters, run, train_and_test
from uniadapter.utils.arguments import natural, processes
from uniadapter.utils.errors import one_message
from uniadapter.utils.json_files import parse_json
from uniadapter.utils.safe_io import atomic_write

#: Marks of the tables in a page.
BEGIN = "<!-- results: written by tools/analysis_tools/run_tiny.py -->"
END = "<!-- end of results -->"
BACKBONES_BEGIN = "<!-- results of backbones: written by tools/analysis_tools/run_tiny.py -->"
BACKBONES_END = "<!-- end of results of backbones -->"
UNIPT_BEGIN = "<!-- results of UniPT: written by tools/analysis_tools/run_tiny.py -->"
UNIPT_END = "<!-- end of results of UniPT -->"
_MARKS = {
    "benchmarks": (BEGIN, END),
    "backbones": (BACKBONES_BEGIN, BACKBONES_END),
    "unipt": (UNIPT_BEGIN, UNIPT_END),
}
METHODS = {
    "zero_shot": "zero-shot",
    "linear_probe": "linear probe",
    "r32": "UniAdapter",
    "unipt": "UniPT",
    "full_finetune": "full fine-tuning",
}
T2V = {f"t2v R@{n}": f"t2v/R{n}" for n in (1, 5, 10)}
IMAGES = {f"{way} R@{n}": f"{way}/R{n}" for way in ("t2i", "i2t") for n in (1, 5, 10)}


@dataclass(frozen=True)
class Benchmark:
    """One of the paper's benchmarks on the embedded data, or one of them on another backbone.

    Attributes:
        title: Its name in the table.
        parts: Parts of the world it needs; the first one is the root of its data.
        measures: Names in the table and in the metrics of the test.
        answers: Whether the model needs the list of answers beside the data.
        table: Where its rows are: ``'benchmarks'``, those on BLIP-base's twin, ``'backbones'``, on
            that of another one, or ``'unipt'``, on one of UniPT's own.
    """

    title: str
    parts: tuple[str, ...]
    measures: dict[str, str]
    answers: bool = False
    table: str = "benchmarks"


_BACKBONES = {"blip_large": "BLIP-Large", "albef": "ALBEF", "beit3": "BEiT-3", "clip": "CLIP"}
BENCHMARKS = {
    "msrvtt": Benchmark("MSR-VTT", ("msrvtt",), T2V),
    "didemo": Benchmark("DiDeMo", ("didemo",), T2V),
    "coco": Benchmark("COCO retrieval", ("coco",), IMAGES),
    "flickr30k": Benchmark("Flickr30K", ("flickr30k",), IMAGES),
    "msrvttqa": Benchmark("MSRVTT-QA", ("msrvtt_qa", "msrvtt"), {"accuracy": "accuracy"}, True),
    "vqav2": Benchmark("VQAv2", ("vqav2", "coco"), {"accuracy": "accuracy"}, True),
    "coco_caption": Benchmark("COCO caption", ("coco",), {"BLEU-4": "Bleu_4", "CIDEr": "CIDEr"}),
    **{
        f"flickr30k_{name}": Benchmark(
            f"Flickr30K, {title}", ("flickr30k",), IMAGES, table="backbones"
        )
        for name, title in _BACKBONES.items()
    },
    "flickr30k_vse": Benchmark(
        "Flickr30K, VSE-infinity", ("flickr30k",), {**IMAGES, "Rsum": "Rsum"}, table="unipt"
    ),
    "mdetr": Benchmark(
        "RefCOCO, MDETR",
        ("refcoco",),
        {f"{split} P@1": f"{split}/P@1" for split in ("testA", "testB")},
        table="unipt",
    ),
}


@dataclass(frozen=True)
class Job:
    """One row of the table."""

    benchmark: str
    method: str

    @property
    def config(self) -> str:
        """Path of its config, relative to the repository."""
        return f"configs/tiny/{self.benchmark}_{self.method}.py"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="All embedded benchmarks and backbones.")
    parser.add_argument("--only", nargs="+", choices=list(BENCHMARKS), default=list(BENCHMARKS))
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--jobs", type=processes, default=1, help="rows that run at the same time")
    parser.add_argument("--threads", type=processes, default=1, help="threads of each row")
    parser.add_argument("--work-dir", default="work_dirs/tiny", help="folder of logs and results")
    parser.add_argument(
        "--out", help="Markdown file of the table, or a page with its marks (WORK_DIR/table.md)"
    )
    parser.add_argument("--world", default="data/toy_world", help="folder of the embedded data")
    parser.add_argument("--epochs", type=natural, help="instead of the epochs of the configs")
    parser.add_argument("--force", action="store_true", help="run finished rows again")
    return parser.parse_args(argv)


def jobs_of(benchmarks: Sequence[str], methods: Sequence[str]) -> list[Job]:
    """The rows that have a config, in the order of the table."""
    jobs = [Job(b, m) for b in BENCHMARKS for m in METHODS if b in benchmarks and m in methods]
    return [job for job in jobs if (ROOT / job.config).is_file()]


def options_of(job: Job, world: Path, epochs: int | None) -> list[str]:
    """What is overridden in the config of a row."""
    benchmark = BENCHMARKS[job.benchmark]
    options = [f"train_cfg.max_epochs={epochs}"] if epochs else []
    if world != ROOT / "data" / "toy_world":
        root = world / benchmark.parts[0]
        options += [
            f"{split}_dataloader.dataset.data_root={root}/" for split in ("train", "val", "test")
        ]
        if benchmark.answers:
            options.append(f"model.answer_list={root / 'answer_list.json'}")
    return options


def fingerprint(job: Job, world: Path, epochs: int | None) -> str:
    """What the result of a row depends on: config, overrides, backbone and data.

    Raises:
        FileNotFoundError: When the data is not there.
    """
    from uniadapter.utils.config import load_config

    cfg = load_config(str(ROOT / job.config))
    digest = hashlib.sha256(cfg.dump().encode())
    digest.update(json.dumps(options_of(job, world, epochs)).encode())
    digest.update((ROOT / backbone_of(job.config)).read_bytes())
    for part in BENCHMARKS[job.benchmark].parts:
        facts = world / ("world.json" if part == "msrvtt" else f"{part}/part.json")
        digest.update(facts.read_bytes())
    return digest.hexdigest()


def result_file(job: Job, work_dir: Path) -> Path:
    """Where the result of a row is written."""
    return work_dir / Path(job.config).stem / "result.json"


def read_result(job: Job, work_dir: Path, key: str) -> dict[str, Any] | None:
    """The result of a finished row, or None if there is none that is valid."""
    path = result_file(job, work_dir)
    if not path.is_file():
        return None
    try:
        found = parse_json(path.read_bytes())
    except ValueError:
        return None
    return found if isinstance(found, dict) and found.get("fingerprint") == key else None


def run_job(job: Job, args: argparse.Namespace, world: Path, work_dir: Path, key: str) -> None:
    """Train and test one row and write its ``result.json``.

    Raises:
        RuntimeError: When a command fails, or the test did not write what the table shows.
    """
    path = result_file(job, work_dir)
    folder = path.parent
    path.unlink(missing_ok=True)
    trained = job.method != "zero_shot"
    options = options_of(job, world, args.epochs)
    found = train_and_test(job.config, folder, args.threads, trained, options)
    measures = BENCHMARKS[job.benchmark].measures
    missing = [name for name in measures.values() if name not in found]
    if missing:
        raise RuntimeError(f"{job.config}: {folder / 'metrics.json'} has no {missing}")
    trainable, total = parameters(job.config, trained)
    result = {
        "benchmark": job.benchmark,
        "method": job.method,
        "config": job.config,
        "metrics": {name: found[name] for name in measures.values()},
        "trainable": trainable,
        "total": total,
        "train_seconds": round(found["train_seconds"], 1) if trained else 0.0,
        "test_seconds": round(found["test_seconds"], 1),
        "threads": args.threads,
        "jobs": args.jobs,
        "fingerprint": key,
    }
    atomic_write(path, (json.dumps(result, indent=2) + "\n").encode())


def measures_of(benchmark: Benchmark) -> str:
    """Names of the measures; a direction is named once, before the first of its recalls."""
    words, last = [], ""
    for name in benchmark.measures:
        way = name.split(" ")[0]
        words.append(name.removeprefix(f"{way} ") if way == last else name)
        last = way
    return " / ".join(words)


def table(results: Sequence[dict[str, Any]]) -> str:
    """Markdown of results, one line a row."""
    lines = [
        "| benchmark | measures | method | result | trainable | share "
        "| training, s | test, s | threads |",
        "| --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for result in results:
        benchmark = BENCHMARKS[result["benchmark"]]
        cells = [
            benchmark.title,
            measures_of(benchmark),
            METHODS[result["method"]],
            " / ".join(f"{result['metrics'][name]:.1f}" for name in benchmark.measures.values()),
            f"{result['trainable']:,}",
            f"{result['trainable'] / result['total']:.1%}",
            f"{result['train_seconds']:.0f}",
            f"{result['test_seconds']:.0f}",
            str(result["threads"]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def with_count(results: Sequence[dict[str, Any]], name: str) -> str:
    """A table and what it does not hold.

    Args:
        results: Results of all rows.
        name: Which table.
    """
    chosen = [r for r in results if BENCHMARKS[r["benchmark"]].table == name]
    seconds = sum(result["train_seconds"] + result["test_seconds"] for result in chosen)
    jobs = jobs_of([n for n, b in BENCHMARKS.items() if b.table == name], list(METHODS))
    text = f"{table(chosen)}\n\n{len(chosen)} of {len(jobs)} rows, "
    text += f"{seconds / 60:.0f} minutes in all."
    done = {result["config"] for result in chosen}
    missing = [Path(job.config).stem for job in jobs if job.config not in done]
    return text + (f" Not run: {', '.join(missing)}." if missing else "")


def write_table(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Write Markdown to ``path``, between the marks if it is a page that has them.

    A table of which there is no result stays as it is.

    Raises:
        ValueError: When the page has only one of two marks, or one of them twice.
    """
    page = path.read_text(encoding="utf-8") if path.is_file() else ""
    marked = any(mark in page for marks in _MARKS.values() for mark in marks)
    parts = []
    for name, marks in _MARKS.items():
        if not any(BENCHMARKS[r["benchmark"]].table == name for r in results):
            continue
        parts.append(with_count(results, name))
        if marked:
            page = _between(page, marks, parts[-1], path)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, (page if marked else "\n\n".join(parts) + "\n").encode())


def _between(page: str, marks: tuple[str, str], text: str, path: Path) -> str:
    """The page with ``text`` between its marks."""
    begin, end = marks
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(end) < page.index(begin):
        raise ValueError(f"{path} must hold the lines {begin!r} and {end!r} once each.")
    before, after = page.split(begin)[0], page.split(end)[1]
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def draw_world(args: argparse.Namespace, world: Path, work_dir: Path) -> None:
    """Draw the parts that the chosen benchmarks need, unless they are there."""
    if args.world != "data/toy_world":
        return
    parts = sorted({part for name in args.only for part in BENCHMARKS[name].parts} - {"msrvtt"})
    command = ["tools/dataset_converters/make_toy_world.py", "--out", str(world)]
    run([*command, *(["--parts", *parts] if parts else [])], work_dir / "world.txt")


def run_all(
    args: argparse.Namespace, jobs: Sequence[Job], world: Path, work_dir: Path
) -> list[str]:
    """Run what is not finished; return what went wrong."""

    def work(job: Job) -> str | None:
        try:
            key = fingerprint(job, world, args.epochs)
            if args.force or read_result(job, work_dir, key) is None:
                print(f"{job.config} ...", flush=True)
                run_job(job, args, world, work_dir, key)
            result = read_result(job, work_dir, key)
        except (RuntimeError, OSError, ValueError, KeyError) as error:
            print(f"FAILED {job.config}: {error}", file=sys.stderr, flush=True)
            return job.config
        print(f"{job.config}: {result['metrics'] if result else None}", flush=True)
        return None

    with ThreadPoolExecutor(args.jobs) as pool:
        return [failed for failed in pool.map(work, jobs) if failed]


def valid_results(args: argparse.Namespace, world: Path, work_dir: Path) -> list[dict[str, Any]]:
    """Results of all benchmarks that belong to the present configs and data."""
    jobs = jobs_of(list(BENCHMARKS), list(METHODS))
    results = []
    for job in (job for job in jobs if result_file(job, work_dir).is_file()):
        try:
            found = read_result(job, work_dir, fingerprint(job, world, args.epochs))
        except FileNotFoundError as error:
            print(f"{job.config}: left out, its data is gone ({error})", file=sys.stderr)
            continue
        if found is None:
            print(f"{job.config}: left out, config or data changed since", file=sys.stderr)
        else:
            results.append(found)
    return results


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Run the rows and write the table."""
    args = parse_args(argv)
    world, work_dir = (ROOT / args.world).resolve(), (ROOT / args.work_dir).resolve()
    work_dir.mkdir(parents=True, exist_ok=True)
    try:
        draw_world(args, world, work_dir)
    except RuntimeError as error:
        sys.exit(f"error: {error}")
    failed = run_all(args, jobs_of(args.only, args.methods), world, work_dir)
    results = valid_results(args, world, work_dir)
    out = Path(args.out) if args.out else work_dir / "table.md"
    write_table(results, out)
    atomic_write((work_dir / "table.json"), (json.dumps(results, indent=2) + "\n").encode())
    print(f"\n{table(results)}\n\n{out}, {work_dir / 'table.json'}")
    if failed:
        sys.exit(f"error: {len(failed)} rows failed and are not in the table: {', '.join(failed)}")


if __name__ == "__main__":
    main()
