"""Recall, time, memory and size of a search's first stage: exact, HNSW and IVF-PQ.

    python tools/analysis_tools/benchmark_search.py --vectors 1000000 --out work_dirs/first_stage

Two galleries are drawn. Rows of `clustered` are near to one another as features of a model are:
they share a direction (two rows of different clusters have a cosine of about 0.3), the variance of
axis i is 1 / i, and they lie about centres, a row in 50, whose sizes follow Zipf's law with
exponent 0.5 (a row and its centre differ by 0.6 of what two centres do). A query is one of the rows
with noise that leaves a cosine of about 0.8. Rows and queries of `uniform` are uniform on the
sphere, where nothing is near to anything: the hardest case, which no real features are.

Each query is searched alone for `--shortlist` rows, as before re-ranking. Each line is measured in
a process of its own with `--threads` threads; memory is what is not a file, so exact search, which
reads the features from their file, takes none (the system keeps that file in memory all the same).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from uniadapter.search.first_stage import FirstStage
from uniadapter.utils.arguments import natural, processes, seed_number, side, whole
from uniadapter.utils.errors import one_message
from uniadapter.utils.safe_io import atomic_write
from uniadapter.visualization.plots import curves

GALLERIES = ("clustered", "uniform")
KINDS = ("exact", "hnsw", "ivf_pq")
#: What is varied in a search of a kind.
VARIED = {"hnsw": "ef_search", "ivf_pq": "nprobe"}
_PER_CLUSTER = 50
_BLOCK = 2**14
MIB = 2**20


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vectors", type=natural, default=1_000_000, help="rows of a gallery")
    parser.add_argument("--size", type=side, default=256, help="numbers of a row")
    parser.add_argument("--queries", type=natural, default=500)
    parser.add_argument(
        "--shortlist", type=whole(11), default=100, help="rows searched for, above 10"
    )
    parser.add_argument("--galleries", nargs="+", choices=GALLERIES, default=list(GALLERIES))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--ef-search", type=natural, nargs="+", default=[100, 200, 400, 800])
    parser.add_argument("--nprobe", type=natural, nargs="+", default=[4, 16, 64, 256])
    parser.add_argument(
        "--build",
        nargs="*",
        default=[],
        metavar="KIND.NAME=NUMBER",
        help="options of building, such as hnsw.m=16 ivf_pq.pq_bytes=32 ivf_pq.refine=8",
    )
    parser.add_argument("--threads", type=processes, default=1, help="of building and of searching")
    parser.add_argument(
        "--cpu-time", action="store_true", help="count the process's seconds, for a busy machine"
    )
    parser.add_argument("--seed", type=seed_number, default=0)
    parser.add_argument("--dir", help="folder for the galleries, removed afterwards")
    parser.add_argument("--out", type=Path, help="folder for search.json and search.png")
    parser.add_argument("--step", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.vectors < args.shortlist:
        parser.error("--vectors must be at least --shortlist")
    try:
        args.options = _build_options(args.build)
    except ValueError as error:
        parser.error(str(error))
    return args


def _build_options(given: list[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
    for text in given:
        kind, _, rest = text.partition(".")
        name, _, value = rest.partition("=")
        if kind not in KINDS or not value.isdigit():
            raise ValueError(f"--build {text!r} is not KIND.NAME=NUMBER with a kind of {KINDS}")
        found[kind][name] = bool(int(value)) if name == "opq" else int(value)
    return found


def _unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def draw_gallery(name: str, folder: Path, args: argparse.Namespace) -> None:
    """Write ``features.npy`` (V, E) and ``queries.npy`` (Q, E), as the tool's text says."""
    rng = np.random.default_rng([args.seed, GALLERIES.index(name)])
    rows = open_memmap(folder / "features.npy", "w+", np.float32, (args.vectors, args.size))
    if name == "uniform":
        for start in range(0, args.vectors, _BLOCK):
            block = rows[start : start + _BLOCK]
            block[:] = _unit(rng.standard_normal(block.shape, np.float32))
        queries = rng.standard_normal((args.queries, args.size), np.float32)
        np.save(folder / "queries.npy", _unit(queries))
        return
    spread = np.arange(1, args.size + 1, dtype=np.float32) ** -0.5
    spread /= np.linalg.norm(spread)
    shared = np.zeros(args.size, np.float32)
    shared[-1] = 0.8
    count = max(1, args.vectors // _PER_CLUSTER)
    centres = shared + rng.standard_normal((count, args.size), np.float32) * spread
    sizes = np.arange(1, count + 1) ** -0.5
    for start in range(0, args.vectors, _BLOCK):
        block = rows[start : start + _BLOCK]
        own = centres[rng.choice(count, len(block), p=sizes / sizes.sum())]
        block[:] = _unit(own + 0.6 * rng.standard_normal(block.shape, np.float32) * spread)
    some = rows[np.sort(rng.integers(args.vectors, size=args.queries))]
    noise = _unit(rng.standard_normal(some.shape, np.float32) * spread)
    np.save(folder / "queries.npy", _unit(some + 0.75 * noise))


def own_bytes() -> int | None:
    """Memory of this process that is not a file's; None where nobody tells."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    line = next(x for x in status.read_text().splitlines() if x.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024


def build(kind: str, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Build the first stage of a kind and write it down."""
    features = np.load(folder / "features.npy", mmap_mode="r")
    options = dict(args.options[kind])
    if kind == "hnsw":
        options.setdefault("threads", args.threads)
    start = _clock(args)
    stage = FirstStage.build(features, kind, **options)
    spent = _clock(args) - start
    if kind != "exact":
        stage.save(folder / kind)
    return {"build_seconds": spent}


def measure(kind: str, value: int, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Search with all queries, one by one; what exact search finds is written down."""
    features = np.load(folder / "features.npy", mmap_mode="r")
    queries = np.load(folder / "queries.npy")
    before = own_bytes()
    if kind == "exact":
        stage = FirstStage.build(features, kind)
    else:
        stage = FirstStage.load(folder / kind, features)
        stage.tune(**{VARIED[kind]: value})
    stage.search(queries[:1], args.shortlist)
    after = own_bytes()
    found, times = [], []
    for number in range(len(queries)):
        start = _clock(args)
        found.append(stage.search(queries[number : number + 1], args.shortlist)[1][0])
        times.append(_clock(args) - start)
    if kind == "exact":
        np.save(folder / "truth.npy", np.array(found))
    file = folder / kind
    return {
        **recalls(np.array(found), np.load(folder / "truth.npy")),
        "median_ms": 1000 * float(np.median(times)),
        "p95_ms": 1000 * float(np.quantile(times, 0.95)),
        "disk_mib": file.stat().st_size / MIB if file.exists() else 0.0,
        "memory_mib": None if before is None or after is None else (after - before) / MIB,
    }


def recalls(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Shares of the rows that exact search finds.

    Args:
        found: (Q, K) rows.
        truth: (Q, K) rows of exact search.

    Returns:
        dict: ``recall10``, of its first ten among the first ten; ``recall``, of all K among all K,
        which is what re-ranking sees. As rows are ordered by their exact similarities, its first
        ten are among the first ten if they are found at all.
    """

    def share(own: np.ndarray, other: np.ndarray) -> float:
        pairs = zip(own, other, strict=True)
        return float(np.mean([np.isin(true, here).mean() for here, true in pairs]))

    return {
        "recall10": share(found[:, :10], truth[:, :10]),
        "recall": share(found, truth),
    }


def _clock(args: argparse.Namespace) -> float:
    return time.process_time() if args.cpu_time else time.perf_counter()


def apart(argv: list[str], args: argparse.Namespace, step: list[str]) -> dict[str, Any]:
    """Take a step in a new process, whose libraries have so many threads."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, str(args.threads))}
    process = subprocess.run(
        [sys.executable, __file__, *argv, "--step", *step],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        check=False,
    )
    if process.returncode:
        raise RuntimeError(f"{' '.join(step[:3])} ended with code {process.returncode}, see above.")
    return json.loads(process.stdout.splitlines()[-1])


def take_step(args: argparse.Namespace) -> dict[str, Any]:
    """What :func:`apart` asks of the new process."""
    what, kind, value, folder = args.step
    if what == "draw":
        draw_gallery(kind, Path(folder), args)
        return {}
    if what == "build":
        return build(kind, Path(folder), args)
    return measure(kind, int(value), Path(folder), args)


def measure_gallery(name: str, argv: list[str], args: argparse.Namespace) -> list[dict[str, Any]]:
    """All lines of one gallery."""
    rows = []
    with tempfile.TemporaryDirectory(dir=args.dir) as folder:
        apart(argv, args, ["draw", name, "0", folder])
        # Exact search first: the others are measured against what it finds.
        for kind in sorted({"exact", *args.kinds}, key=KINDS.index):
            built = apart(argv, args, ["build", kind, "0", folder])
            values = getattr(args, VARIED[kind]) if kind in VARIED else [0]
            for value in values:
                found = apart(argv, args, ["measure", kind, str(value), folder])
                named = {"gallery": name, "kind": kind, "value": value}
                rows.append({**named, **built, **found})
                print(_line(rows[-1]), file=sys.stderr)
    return rows


def _line(row: dict[str, Any]) -> str:
    kind = row["kind"]
    value = f"{VARIED[kind]}={row['value']}" if kind in VARIED else ""
    memory = "-" if row["memory_mib"] is None else f"{row['memory_mib']:.0f}"
    return (
        f"| {row['gallery']} | {kind} | {value} | {row['recall10']:.3f} | "
        f"{row['recall']:.3f} | {row['median_ms']:.2f} | {row['p95_ms']:.2f} | "
        f"{row['disk_mib']:.0f} | {memory} | {row['build_seconds']:.0f} |"
    )


def as_table(args: argparse.Namespace, rows: list[dict[str, Any]]) -> str:
    """The lines as Markdown."""
    k = args.shortlist
    head = (
        f"| gallery | kind | option | recall@10 | recall@{k} | ms | p95 ms | "
        "file, MiB | memory, MiB | built in, s |"
    )
    return "\n".join([head, "|" + " --- |" * 10, *map(_line, rows)])


def write(args: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """Write the figures and the plot."""
    said = {name: getattr(args, name) for name in ("vectors", "size", "queries", "shortlist")}
    said.update(threads=args.threads, cpu_time=args.cpu_time, seed=args.seed, build=args.build)
    content = json.dumps({"options": said, "rows": rows}, indent=1) + "\n"
    atomic_write(args.out / "search.json", content.encode())
    lines = {}
    for name in args.galleries:
        for kind in KINDS:
            own = [row for row in rows if (row["gallery"], row["kind"]) == (name, kind)]
            if own:
                times = [row["median_ms"] for row in own]
                lines[f"{kind}, {name}"] = times, [row["recall10"] for row in own]
    title = f"recall@10 of {args.vectors:,} vectors"
    picture = curves(lines, title, "milliseconds a query", log_x=True)
    picture.save(args.out / "search.png")


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Measure, print and, where asked, write."""
    argv = sys.argv[1:] if argv is None else argv
    args = parse_args(argv)
    try:
        if args.step is not None:
            print(json.dumps(take_step(args)))
            return
        rows = [row for name in args.galleries for row in measure_gallery(name, argv, args)]
        print(as_table(args, rows))
        if args.out is not None:
            write(args, rows)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
