"""Time this checkout beside another one, case by case and in turns.

    git worktree add ../before COMMIT
    python tools/analysis_tools/compare_checkouts.py ../before --threads 2

Says whether a change made training or re-ranking slower or larger. Every run is a process of its
own that imports ``uniadapter`` from its checkout; a round runs the other checkout, this one, this
one again and the other, so that a machine that gets busier is unjust to neither. Weights and inputs
are random, of real sizes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from train_bench.measure import peak_bytes

from uniadapter.apis.model import build_model
from uniadapter.utils.config import load_config
from uniadapter.utils.errors import one_message

HERE = Path(__file__).resolve().parents[2]
#: Arguments of benchmark_train.py by case.
TRAINING = {
    "retrieval": ["configs/uniadapter/msrvtt_r512.py", "--batch-size", "2", "--frames", "8"],
    "retrieval_bf16": [
        *("configs/uniadapter/msrvtt_r512.py", "--batch-size", "2", "--frames", "8"),
        *("--precision", "bf16", "--frozen-bf16"),
    ],
    "image": [
        *("configs/uniadapter/flickr30k_r512.py", "--batch-size", "4", "--frames", "1"),
        *("--img-size", "224"),
    ],
    "vqa": [
        *("configs/uniadapter/vqav2_r512.py", "--batch-size", "4", "--frames", "1"),
        *("--img-size", "224"),
    ],
    "caption": [
        *("configs/uniadapter/coco_caption_r512.py", "--batch-size", "2", "--frames", "1"),
        *("--img-size", "224"),
    ],
}
#: Config and frames by case of re-ranking.
RERANKING = {
    "rerank": ("configs/uniadapter/msrvtt_r512.py", 16),
    "rerank_image": ("configs/uniadapter/coco_r512.py", 1),
}
CASES = [*TRAINING, *RERANKING]
TEXTS = 128
# Of any number. The package of an older checkout has no types of options that could say it.
MOST = 10**5


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("other", type=Path, help="folder of the other checkout")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES, metavar="CASE")
    parser.add_argument("--rounds", type=int, default=1, help="each runs either checkout twice")
    parser.add_argument("--steps", type=int, default=3, help="measured steps of a run")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    parser.add_argument(
        "--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="of every training config"
    )
    parser.add_argument("--worker", choices=list(RERANKING), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    for name in ("rounds", "steps", "threads"):
        if not 1 <= getattr(args, name) <= MOST:
            parser.error(f"--{name} {getattr(args, name)} must be at least 1, at most {MOST}")
    if not (args.other / "uniadapter/__init__.py").is_file():
        parser.error(f"{args.other} is no checkout of this repository: make one with git worktree")
    return args


@torch.no_grad()
def rerank(case: str, steps: int) -> dict[str, float]:
    """Seconds and memory of scoring a medium against texts, by public calls alone."""
    config, frames = RERANKING[case]
    cfg = load_config(config, {})
    cfg.model.queue_size = 1
    torch.manual_seed(0)
    model: Any = build_model(cfg.model.to_dict()).eval()
    width, side = model.text.hidden_size, cfg.model.visual.get("img_size", 224) // 16
    tokens = torch.randn(frames, side * side + 1, width)
    # As long as MSR-VTT's captions are, 5 to 19 tokens.
    lengths = torch.arange(TEXTS) % 15 + 5
    mask = (torch.arange(int(lengths.max()))[None] < lengths[:, None]).long()
    ids = torch.randint(1, 30000, mask.shape) * mask
    sims = torch.randn(TEXTS, frames).softmax(-1) if cfg.model.get("pfa") else None
    seconds = []
    for step in range(steps + 1):
        start = time.perf_counter()
        model.score_texts(tokens, ids, mask, sims)
        if step:
            seconds.append(time.perf_counter() - start)
    return {
        "seconds_per_step": statistics.median(seconds),
        "peak_gib": peak_bytes() / 2**30,
    }


def run(checkout: Path, case: str, args: argparse.Namespace) -> dict[str, Any]:
    """Run a case in a process that imports the package from a checkout.

    Raises:
        RuntimeError: If the process fails.
    """
    numbers = ["--steps", str(args.steps), "--threads", str(args.threads)]
    if case in TRAINING:
        precision = [] if "--precision" in TRAINING[case] else ["--precision", "fp32"]
        options = ["--cfg-options", *args.cfg_options] if args.cfg_options else []
        tool = checkout / "tools/analysis_tools/benchmark_train.py"
        command = [str(tool), *TRAINING[case], *precision, *numbers, "--json", *options]
    else:
        command = [str(Path(__file__).resolve()), str(args.other), "--worker", case, *numbers]
    process = subprocess.run(
        [sys.executable, *command],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if process.returncode:
        raise RuntimeError(f"{case} in {checkout} ended with code {process.returncode}, see above.")
    return json.loads(process.stdout.splitlines()[-1])


def compare(case: str, args: argparse.Namespace) -> dict[str, Any]:
    """Run a case in both checkouts, in turns."""
    other = args.other.resolve()
    found: dict[Path, list[dict[str, Any]]] = {other: [], HERE: []}
    for _ in range(args.rounds):
        for checkout in (other, HERE, HERE, other):
            result = run(checkout, case, args)
            found[checkout].append(result)
            print(
                f"{case}: {result['seconds_per_step']:.2f} s, {result['peak_gib']:.2f} GiB in "
                f"{checkout}",
                file=sys.stderr,
            )
    row: dict[str, Any] = {"case": case}
    for name, key in (("seconds", "seconds_per_step"), ("gib", "peak_gib")):
        for side, checkout in (("before", other), ("now", HERE)):
            # What else the machine does only adds: the least of the runs is the nearest.
            row[f"{name}_{side}"] = min(result[key] for result in found[checkout])
    return row


def as_table(rows: list[dict[str, Any]]) -> str:
    """Lay out the cases as a Markdown table; speed is before / now, memory now / before."""
    lines = ["| case | speed | memory | s before | s now | GiB before | GiB now |"]
    lines.append("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for row in rows:
        before, now = row["seconds_before"], row["seconds_now"]
        gib_before, gib_now = row["gib_before"], row["gib_now"]
        lines.append(
            f"| {row['case']} | {before / now:.2f} | {gib_now / gib_before:.2f} | {before:.2f} | "
            f"{now:.2f} | {gib_before:.2f} | {gib_now:.2f} |"
        )
    return "\n".join(lines)


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Compare and print."""
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    if args.worker is not None:
        print(json.dumps(rerank(args.worker, args.steps)))
        return
    rows = []
    try:
        for case in args.cases:
            rows.append(compare(case, args))
            # A long run shows what it has, should it be stopped.
            print(as_table(rows[-1:]), file=sys.stderr)
    except RuntimeError as error:
        sys.exit(f"error: {error}")
    print(as_table(rows))


if __name__ == "__main__":
    main()
