"""Time re-ranking and a whole evaluation against the naive way, in one process and in turns.

    python tools/analysis_tools/benchmark_rerank.py --threads 2

Weights, captions and pixels are random, of BLIP-base's and MSR-VTT's sizes. Every row has both
ways' median seconds, their ratio, the largest difference of their scores and, where operations can
be counted, the share of the machine's own matrix-product rate. Where torch finds a GPU, both run
there, as the test loop does; ``CUDA_VISIBLE_DEVICES= `` in front of the command keeps them off it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from rerank_bench.growth import POINTS, draw, load_matplotlib, measure_points
from rerank_bench.measure import CHUNKS, Measured, Sizes, measure_evaluation, measure_rerank
from rerank_bench.operations import matmul_rate
from rerank_bench.rows import ROWS, Row, as_table, finished_row
from train_bench.options import parse_given, refuse_unread

from uniadapter.utils.arguments import natural, processes, seed_number, side
from uniadapter.utils.errors import one_message

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
#: Options that all rows read, and those that each kind of case reads beside them.
COMMON = {"rows", "plot", "plot_points", "chunk", "matmul_size", "threads", "seed", "json"}
READ = {
    "image": {"image_config", "texts", "repeats"},
    "albef": {"albef_config", "albef_media", "texts", "repeats"},
    "video": {"video_config", "frames", "texts", "repeats"},
    "evaluation": {
        "video_config",
        *("eval_repeats", "eval_layers", "eval_frames", "eval_media", "eval_k"),
    },
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    names = [row.name for row in ROWS]
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--video-config", default="configs/uniadapter/msrvtt_r512.py")
    parser.add_argument("--image-config", default="configs/uniadapter/coco_r512.py")
    parser.add_argument("--albef-config", default="configs/uniadapter/flickr30k_albef_r512.py")
    parser.add_argument("--rows", nargs="+", choices=names, metavar="ROW", help=", ".join(names))
    parser.add_argument("--frames", type=side, default=16, help="frames of the one video")
    parser.add_argument("--texts", type=side, default=128, help="texts of a re-rank")
    parser.add_argument("--albef-media", type=side, default=4, help="images of ALBEF's row")
    parser.add_argument(
        "--chunk", type=natural, help=f"pairs a call, naive (default: best of {CHUNKS})"
    )
    parser.add_argument("--repeats", type=natural, default=3, help="measured times, of a re-rank")
    parser.add_argument("--eval-repeats", type=natural, default=1, help="of a whole evaluation")
    parser.add_argument("--eval-layers", type=natural, default=1, help="layers of both towers")
    parser.add_argument("--eval-frames", type=side, default=8, help="frames of a video")
    parser.add_argument("--eval-media", type=natural, default=200, help="videos, and texts")
    parser.add_argument("--eval-k", type=natural, default=64, help="length of the shortlists")
    parser.add_argument("--matmul-size", type=natural, default=3072, help="side of the matrices")
    parser.add_argument("--threads", type=processes, default=2, help="threads of torch")
    parser.add_argument("--seed", type=seed_number, default=0, help="of weights and inputs")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--plot",
        metavar="FILE.png",
        help="measure how cost grows, draw it and write the points to FILE.json; rows are then "
        "measured only where --rows names them",
    )
    parser.add_argument("--plot-points", type=json.loads, default=POINTS, help=argparse.SUPPRESS)
    args, given = parse_given(parser, argv)
    if args.plot is not None and args.rows is None:
        read = {"plot", "plot_points", "video_config", "seed", "threads"}
        refuse_unread(parser, given, read, "--plot without --rows")
    elif args.rows is not None:
        read = COMMON.union(*(READ[kind_of(row.case)] for row in ROWS if row.name in args.rows))
        # The picture's points are of the video config, whichever rows stand beside it.
        read |= {"video_config"} if args.plot is not None else set()
        refuse_unread(parser, given, read, f"--rows {' '.join(args.rows)}")
    if args.eval_k > args.eval_media:
        parser.error(f"--eval-k {args.eval_k} is more than --eval-media {args.eval_media}")
    if args.plot is not None and Path(args.plot).suffix != ".png":
        parser.error(f"--plot {args.plot} must end in .png")
    return args


def kind_of(case: str) -> str:
    """Which options a case reads; the variants of one video are alike."""
    return case if case in READ else "video"


def measure_case(case: str, precisions: list[str], args: argparse.Namespace) -> Measured:
    """Run the measurement that one or more rows read."""
    common = {"texts": args.texts, "seed": args.seed, "chunk": args.chunk}
    if case == "evaluation":
        sizes = Sizes(
            args.video_config,
            frames=args.eval_frames,
            layers=args.eval_layers,
            media=args.eval_media,
            k_test=args.eval_k,
            **{**common, "texts": args.eval_media},
        )
        return measure_evaluation(sizes, precisions, args.eval_repeats)
    if case == "image":
        sizes = Sizes(args.image_config, frames=1, **common)
    elif case == "albef":
        # Of several media, for what runs once a text shows over many.
        sizes = Sizes(args.albef_config, frames=1, media=args.albef_media, **common)
    else:
        variant, _, full = case.partition("_")
        sizes = Sizes(
            args.video_config, frames=args.frames, pfa=variant, full_texts=bool(full), **common
        )
    return measure_rerank(sizes, precisions, args.repeats)


def measure_rows(args: argparse.Namespace) -> dict[str, Any]:
    """Measure the chosen rows; rows of one case share the naive way's runs.

    Returns:
        dict: ``matmul_gflops`` by precision, ``torch``, and ``rows`` in the table's order.
    """
    chosen = [row for row in ROWS if args.rows is None or row.name in args.rows]
    cases: dict[str, list[Row]] = {}
    for row in chosen:
        cases.setdefault(row.case, []).append(row)
    rates = dict.fromkeys(_DTYPES, 0.0)
    threads = torch.get_num_threads()
    measured = {}
    for case, rows in cases.items():
        # Beside every case, as the machine may be busier for a while; the best counts.
        for name, dtype in _DTYPES.items():
            rates[name] = max(rates[name], matmul_rate(dtype, args.matmul_size))
        print(f"{case}: measuring", file=sys.stderr)
        measured[case] = measure_case(case, [row.precision for row in rows], args)
        # A long run shows what it has, should it be stopped.
        done = [finished_row(row, measured[case], rates, threads) for row in rows]
        print(as_table(done, rates), file=sys.stderr)
    return {
        "matmul_gflops": {name: rate / 1e9 for name, rate in rates.items()},
        "torch": torch.__version__,
        "rows": [finished_row(row, measured[row.case], rates, threads) for row in chosen],
    }


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    try:
        if args.plot is not None:
            load_matplotlib()
            draw(measure_points(args.video_config, args.plot_points, 1, args.seed), args.plot)
        if args.plot is not None and args.rows is None:
            return
        results = measure_rows(args)
    except (FileNotFoundError, ValueError, RuntimeError) as error:
        sys.exit(f"error: {error}")
    if args.json:
        print(json.dumps(results))
        return
    rates = {name: gflops * 1e9 for name, gflops in results["matmul_gflops"].items()}
    print(as_table(results["rows"], rates))


if __name__ == "__main__":
    main()
