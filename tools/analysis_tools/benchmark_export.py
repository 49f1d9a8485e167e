"""What exporting a model takes, and how long its files run beside the model itself.

    python tools/analysis_tools/benchmark_export.py configs/uniadapter/msrvtt_r512.py --cpu-time

Weights are random, and the adapter's are moved away from their start. Model and files get the same
inputs in turns, with as many threads. On a machine that others use as well take ``--threads 1
--cpu-time``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from uniadapter.apis import export_model, init_model
from uniadapter.apis.export.checking import Draws, PartProgram
from uniadapter.apis.export.facts import ExportFacts, read_facts
from uniadapter.apis.export.parts import parts_of
from uniadapter.apis.export.programs import open_program
from uniadapter.apis.export.scoring import Programs
from uniadapter.registry import register_all_modules
from uniadapter.utils.arguments import natural, processes, seed_number, side
from uniadapter.utils.config import load_model_config
from uniadapter.utils.errors import one_message
from uniadapter.utils.safe_io import atomic_write

MIB = 2**20


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("config", nargs="?", default="configs/uniadapter/msrvtt_r512.py")
    parser.add_argument("--format", default="onnx", choices=("onnx", "torch"))
    parser.add_argument("--media", type=side, default=1, help="media encoded at once")
    parser.add_argument("--texts", type=side, default=8, help="texts encoded at once")
    parser.add_argument("--pairs", type=side, default=2, help="pairs of one text matched at once")
    parser.add_argument("--words", type=side, default=12, help="words of a text, marks included")
    parser.add_argument("--repeats", type=natural, default=3, help="measured times of every part")
    parser.add_argument("--threads", type=processes, default=1, help="of both")
    parser.add_argument("--no-check", action="store_true", help="don't compare files and model")
    parser.add_argument(
        "--cpu-time", action="store_true", help="count the process's seconds, for a busy machine"
    )
    parser.add_argument("--out", type=Path, help="keep the files here")
    parser.add_argument("--seed", type=seed_number, default=0)
    parser.add_argument("--json", type=Path, help="write what was measured to this file")
    return parser.parse_args(argv)


def build(args: argparse.Namespace) -> Any:
    """The config's model with random weights and an adapter that acts."""
    torch.manual_seed(args.seed)
    config = load_model_config(args.config, {"model.pretrained": None})
    model = init_model(config)
    if model.adapter is not None:
        with torch.no_grad():
            for parameter in model.adapter.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.02)
    return model


def inputs_of(model: Any, facts: ExportFacts, args: argparse.Namespace) -> dict[str, Any]:
    """What each part is timed with: the matcher with real tokens, one text and some media."""
    size = (facts.image_size[0], facts.image_size[1])
    draws = Draws(model, size, args.seed)
    own = Programs({name: PartProgram(part) for name, part in parts_of(model, size).items()})
    pixels = draws.pixels(args.media, facts.frames)
    words = draws.words([args.words] * args.texts, args.words)
    found: dict[str, Any] = {"visual": pixels, "text": words}
    if facts.matches:
        media = {n: v[:1].repeat_interleave(args.pairs, 0) for n, v in own.visual(**pixels).items()}
        texts = {n: v[:1] for n, v in {**own.text(**words), **words}.items()}
        found["matcher"] = {
            "tokens": media["tokens"],
            "input_ids": texts["input_ids"].repeat(args.pairs, 1),
            "attention_mask": texts["attention_mask"].repeat(args.pairs, 1),
        }
        if own.weighs:
            found["matcher"]["frame_sims"] = own.frames(media, texts)[0][0]
    return found


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Export, and time both."""
    clock: Callable[[], float] = time.process_time if args.cpu_time else time.perf_counter
    model = build(args)
    start = clock()
    facts = export_model(model, folder, format=args.format, check=not args.no_check)
    found: dict[str, Any] = {
        "config": args.config,
        "format": args.format,
        "threads": args.threads,
        "clock": "cpu" if args.cpu_time else "wall",
        "export_seconds": clock() - start,
        "largest_difference": facts.difference,
        "mib": {name: (folder / name).stat().st_size / MIB for name in facts.files},
        "parts": {},
    }
    facts = read_facts(folder)
    parts = parts_of(model, (facts.image_size[0], facts.image_size[1]))
    for name, inputs in inputs_of(model, facts, args).items():
        ways = {"model": PartProgram(parts[name]), "files": open_program(folder, facts, name)}
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for repeat in range(args.repeats + 1):
            for way, run in ways.items():
                start = clock()
                run(inputs)
                # The first run of each prepares.
                if repeat:
                    seconds[way].append(clock() - start)
        medians = {way: statistics.median(times) for way, times in seconds.items()}
        found["parts"][name] = {**medians, "ratio": medians["files"] / medians["model"]}
    return found


def report(found: dict[str, Any]) -> str:
    """The measured numbers in lines."""
    clock = found["clock"]
    lines = [
        f"{found['config']} as {found['format']}: {found['export_seconds']:.0f} s ({clock} time), "
        f"{sum(found['mib'].values()):.0f} MiB, largest difference {found['largest_difference']}",
        f"{'part':<8} {'model s':>9} {'files s':>9} {'files / model':>14}",
    ]
    for name, row in found["parts"].items():
        lines.append(f"{name:<8} {row['model']:9.3f} {row['files']:9.3f} {row['ratio']:14.2f}")
    return "\n".join(lines)


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    args = parse_args(argv)
    register_all_modules()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as temporary:
        found = measure(args, args.out or Path(temporary) / "exported")
    print(report(found))
    if args.json is not None:
        atomic_write(args.json, (json.dumps(found, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
