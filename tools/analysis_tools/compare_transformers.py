"""Time re-ranking and a VQA training step against transformers' BLIP on the same weights.

    python tools/analysis_tools/compare_transformers.py --threads 2               # the rows
    python tools/analysis_tools/compare_transformers.py --profile --threads 2     # why

Both ways run in turns in one process, with random weights and inputs of real sizes; peak memory is
that of a process each, with the same settings of the allocator. Re-ranking: one medium against many
texts, without adapter and frame weights, with the number of pairs a call that is fastest for
transformers. Training: peft's LoRA on query and value of every attention on both sides.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from hf_bench.rerank import measure_rerank
from hf_bench.training import Step, make_alone, measure_training, profile_training
from train_bench.measure import peak_bytes
from train_bench.options import parse_given, refuse_unread

from uniadapter.engine.launch import return_freed_memory
from uniadapter.utils.arguments import natural, processes, seed_number, side, whole
from uniadapter.utils.errors import one_message

ROWS = ("image", "video", "training")
SIDES = ("theirs", "ours")
_STEP = {"question_config", "rank", "batch_size", "img_size", "text_length", "no_dropout"}
#: Options that each row and ``--profile`` read, beside those that all do.
COMMON = {"rows", "repeats", "threads", "seed", "json", "alone"}
READ = {
    "image": {"image_config", "image_texts", "chunk"},
    "video": {"video_config", "video_texts", "frames", "chunk"},
    "training": {*_STEP, "warmup"},
    "profile": {*_STEP, "profile", "top"},
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="what to time")
    parser.add_argument("--profile", action="store_true", help="where a training step's time goes")
    parser.add_argument("--image-config", default="configs/uniadapter/coco_r512.py")
    parser.add_argument("--video-config", default="configs/uniadapter/msrvtt_r512.py")
    parser.add_argument("--question-config", default="configs/uniadapter/vqav2_r512.py")
    parser.add_argument("--image-texts", type=side, default=64, help="texts of the image")
    parser.add_argument("--video-texts", type=side, default=64, help="texts of the video")
    parser.add_argument("--frames", type=side, default=16, help="frames of the video")
    parser.add_argument(
        "--chunk", type=natural, help="pairs a call of transformers (default: fastest)"
    )
    parser.add_argument("--rank", type=side, default=16, help="rank of LoRA")
    parser.add_argument("--batch-size", type=side, default=4, help="images of a training step")
    parser.add_argument("--img-size", type=side, help="their side (default: the config's)")
    parser.add_argument("--text-length", type=side, default=12, help="tokens of a question")
    parser.add_argument("--no-dropout", action="store_true", help="train without BLIP's dropout")
    parser.add_argument("--repeats", type=natural, default=3, help="measured times")
    parser.add_argument("--warmup", type=whole(0), default=1, help="training steps before them")
    parser.add_argument("--top", type=natural, default=12, help="operations that --profile lists")
    parser.add_argument("--threads", type=processes, default=2, help="threads of torch")
    parser.add_argument("--seed", type=seed_number, default=0, help="of weights and inputs")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--alone", choices=SIDES, help=argparse.SUPPRESS)
    args, given = parse_given(parser, argv)
    if args.profile:
        refuse_unread(parser, given, (COMMON - {"rows"}) | READ["profile"], "--profile")
    else:
        read = COMMON.union(*(READ[row] for row in args.rows))
        refuse_unread(parser, given, read, f"--rows {' '.join(args.rows)}")
    return args


def training_step(args: argparse.Namespace) -> Step:
    """The training step that the command line asks for."""
    return Step(
        args.question_config,
        rank=args.rank,
        batch_size=args.batch_size,
        img_size=args.img_size,
        text_length=args.text_length,
        dropout=not args.no_dropout,
        seed=args.seed,
    )


def peak_alone(args: argparse.Namespace, argv: list[str], side: str) -> dict[str, float]:
    """Peak memory of a side's training steps in a process of its own.

    Raises:
        RuntimeError: If the process fails.
    """
    command = [sys.executable, str(Path(__file__).resolve()), *argv, "--alone", side]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if process.returncode:
        raise RuntimeError(f"The run of {side} ended with code {process.returncode}, see above.")
    return json.loads(process.stdout.splitlines()[-1])


def run_alone(args: argparse.Namespace) -> dict[str, float]:
    """Two training steps of one side in this process, which should be a fresh one."""
    trainer = make_alone(training_step(args), args.alone)
    built = peak_bytes()
    for _ in range(2):
        trainer.step()
    return {"peak_gib": peak_bytes() / 2**30, "built_gib": built / 2**30}


def measure(args: argparse.Namespace, argv: list[str]) -> dict[str, Any]:
    """Measure the chosen rows by name."""
    results: dict[str, Any] = {}
    if "image" in args.rows:
        results["image"] = measure_rerank(
            args.image_config, 1, args.image_texts, args.repeats, args.seed, args.chunk
        )
    if "video" in args.rows:
        results["video"] = measure_rerank(
            args.video_config, args.frames, args.video_texts, args.repeats, args.seed, args.chunk
        )
    if "training" in args.rows:
        results["training"] = measure_training(training_step(args), args.repeats, args.warmup)
        results["training"]["memory"] = {s: peak_alone(args, argv, s) for s in SIDES}
    return results


def as_table(results: dict[str, Any]) -> str:
    """Lay the rows out as text."""
    import peft
    import transformers

    lines = [
        f"{torch.get_num_threads()} thread(s), torch {torch.__version__}, transformers "
        f"{transformers.__version__}, peft {peft.__version__}",
        f"{'row':<44}{'ratio':>7}{'theirs s':>10}{'ours s':>8}{'difference':>12}",
    ]
    for name, row in results.items():
        if name == "training":
            what = f"VQA step with LoRA, {row['trainable']['ours']:,} trained"
            error = abs(row["loss_theirs"] - row["loss_ours"])
        else:
            what = f"re-ranking, {row['visual_tokens']} tokens, {row['texts']} texts"
            error = row["max_error"]
        lines.append(
            f"{what:<44}{row['ratio']:>7.1f}{row['theirs']:>10.2f}{row['ours']:>8.2f}{error:>12.1e}"
        )
        if name == "training":
            memory, gflop = row["memory"], row["gflop"]
            lines.append(
                f"    peak GiB {memory['theirs']['peak_gib']:.2f} and "
                f"{memory['ours']['peak_gib']:.2f}; GFLOP {gflop['theirs']:.0f} and "
                f"{gflop['ours']:.0f}; trained {row['trainable']['theirs']:,} and "
                f"{row['trainable']['ours']:,}; loss {row['loss_ours']:.4f}"
            )
        else:
            lines.append(
                f"    {row['mean_text_tokens']:.1f} tokens a text, {row['chunk']} pairs a call of "
                f"theirs, standard deviation of the scores {row['score_std']:.2f}"
            )
    return "\n".join(lines)


def profile_as_table(results: list[dict[str, Any]]) -> str:
    """Lay both sides' profiles out as text."""
    lines = []
    for result in results:
        total = sum(sum(kinds.values()) for kinds in result["seconds"].values())
        lines.append(f"{result['name']}: {total:.2f} s a step")
        for phase, kinds in result["seconds"].items():
            parts = ", ".join(f"{kind} {spent:.2f}" for kind, spent in kinds.items())
            lines.append(f"  {phase}: {parts}")
        for phase, operation, shapes, calls, spent in result["operations"]:
            lines.append(f"  {spent:>7.3f} s {calls:>6.0f} calls  {phase}: {operation} {shapes}")
    return "\n".join(lines)


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    # As the training script does; transformers' side gets the same.
    return_freed_memory()
    try:
        if args.alone is not None:
            print(json.dumps(run_alone(args)))
            return
        if args.profile:
            step = training_step(args)
            profiles = [profile_training(step, side, args.repeats, args.top) for side in SIDES]
            print(json.dumps(profiles) if args.json else profile_as_table(profiles))
            return
        results = measure(args, sys.argv[1:] if argv is None else argv)
    except (FileNotFoundError, ImportError, ValueError, RuntimeError) as error:
        sys.exit(f"error: {error}")
    print(json.dumps(results) if args.json else as_table(results))


if __name__ == "__main__":
    main()
