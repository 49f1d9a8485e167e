"""Time training steps and encoding without, with an empty and with a full prefix cache.

    python tools/analysis_tools/benchmark_prefix_cache.py --threads 1

One model with random weights runs one random batch in three ways, in turns: without the cache, with
an empty one (computed, hashed and written) and with a full one (hashed and read; the files are in
the system's memory then). The visual tokens of the three ways are compared.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from train_bench.variant import Stepper, Variant

from uniadapter.models.fast import frozen_layers, frozen_tokens
from uniadapter.models.fast.prefix_cache import DTYPES, PrefixCache, _content
from uniadapter.models.fast.prefix_identity import plan
from uniadapter.utils.arguments import natural, processes, side
from uniadapter.utils.cfg_options import CfgOptions
from uniadapter.utils.errors import one_message

WAYS = ("off", "cold", "warm")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", nargs="?", default="configs/uniadapter/msrvtt_r512.py")
    parser.add_argument("--layers", default="5-12", help="of the adapter (default: 5-12)")
    parser.add_argument("--batch-size", type=side, default=1, help="media a step")
    parser.add_argument("--frames", type=side, default=8, help="frames a medium")
    parser.add_argument("--text-length", type=side, default=35, help="tokens a text")
    parser.add_argument("--rounds", type=natural, default=3, help="measured rounds, after one more")
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="float32", help="on disk")
    parser.add_argument("--dir", help="folder for the cache, emptied at the end (default: /tmp)")
    parser.add_argument("--threads", type=processes, default=1, help="threads of torch")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--cfg-options", nargs="+", action=CfgOptions, metavar="KEY=VALUE", help="change the config"
    )
    return parser.parse_args(argv)


def timed(run: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds, processor seconds of all threads, and the result of a call."""
    start, cpu = time.perf_counter(), time.process_time()
    result = run()
    return time.perf_counter() - start, time.process_time() - cpu, result


def medians(turns: list[list[float]]) -> list[float]:
    """Median over the rounds of wall and of processor seconds."""
    return [statistics.median(column) for column in zip(*turns, strict=True)]


class Bench:
    """One model, run in each way.

    Args:
        args (argparse.Namespace): The command line.
        folder (Path): Where the cache lies.
    """

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        options = {"model.adapter.layers": args.layers, **(args.cfg_options or {})}
        # Refuses a range of layers that leaves nothing to keep.
        options["model.prefix_cache"] = {"dir": str(folder), "dtype": args.dtype}
        self.stepper = Stepper(
            Variant(
                args.config,
                options,
                batch_size=args.batch_size,
                frames=args.frames,
                text_length=args.text_length,
            )
        )
        self.model, self.pixels = self.stepper.model, self.stepper.batch["pixels"]
        self.cache: PrefixCache = self.model.prefix_cache
        self.folder = folder

    def prepare(self, way: str, training: bool) -> None:
        """Switch the cache and the mode; empty it before the cold run.

        The digest of the weights, which a change of mode asks for, belongs to an epoch, not to a
        step: it is taken here.
        """
        self.model.prefix_cache = None if way == "off" else self.cache
        self.model.train(training)
        if way == "cold":
            shutil.rmtree(self.folder, ignore_errors=True)
        if way != "off":
            visual = self.model.visual
            self.cache._keys(visual, self.pixels[:1, 0], frozen_layers(visual))

    @torch.no_grad()
    def encode(self) -> torch.Tensor:
        """Visual tokens of the batch, as the evaluation computes them."""
        return self.model.encode_frames(self.pixels)

    def step(self) -> float:
        """A training step."""
        return self.stepper.step()

    def parts(self) -> dict[str, list[float]]:
        """Processor seconds of each part of the cache for one batch, and of what it replaces."""
        visual, cache, images = self.model.visual, self.cache, self.pixels.flatten(0, 1)
        layers = frozen_layers(visual)
        computed = timed(lambda: frozen_tokens(visual, images, layers))
        hashed = timed(lambda: cache._keys(visual, images, layers))
        rounded, keys = cache._rounded(computed[2]), hashed[2]
        kept = list(zip(keys, rounded, strict=True))
        written = timed(lambda: [cache._write(key, x, computed[2].dtype) for key, x in kept])
        read = timed(lambda: [cache._read(key) for key in keys])
        parts = {"prefix": computed, "hash": hashed, "write": written, "read": read}
        return {name: list(part[:2]) for name, part in parts.items()}


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run all ways and return the figures: medians, wall and processor seconds side by side."""
    bench = Bench(args, folder)
    visual = bench.model.visual
    layers = frozen_layers(visual)
    once = timed(lambda: _content(visual, layers))[1]
    # The second of two: the first takes the digest.
    looks = [
        timed(lambda: bench.cache._fingerprint(visual, layers, plan(visual, layers)))[1]
        for _ in range(2)
    ]
    tokens = {}
    for way in WAYS:
        bench.prepare(way, training=False)
        tokens[way] = bench.encode()
    sizes = [path.stat().st_size for path in folder.rglob("*.prefix")]
    figures: dict[str, list[list[float]]] = {}
    for turn in range(args.rounds + 1):
        for name, run in (("step", bench.step), ("encode", bench.encode)):
            for way in WAYS:
                bench.prepare(way, training=name == "step")
                figures.setdefault(f"{name} {way}", []).append(list(timed(run)[:2]))
        for name, part in bench.parts().items():
            figures.setdefault(name, []).append(part)
        print(f"round {turn + 1}/{args.rounds + 1} done", file=sys.stderr)
    return {
        "config": args.config,
        "layers": args.layers,
        "frozen_layers": layers,
        "frames": bench.pixels.shape[0] * bench.pixels.shape[1],
        "img_size": bench.stepper.img_size,
        "stored": args.dtype,
        "mib_per_frame": sum(sizes) / len(sizes) / 2**20,
        "fingerprint_seconds": once,
        "look_seconds": looks[1],
        "seconds": {name: medians(turns[1:]) for name, turns in figures.items()},
        "error": {way: float((tokens[way] - tokens["off"]).abs().max()) for way in WAYS[1:]},
        "warm_is_cold": torch.equal(tokens["warm"], tokens["cold"]),
        "threads": torch.get_num_threads(),
    }


def as_table(result: dict[str, Any]) -> str:
    """Lay the figures out as text."""
    seconds = result["seconds"]
    lines = [
        f"{result['config']}, adapter on layers {result['layers']}: {result['frozen_layers']} "
        f"visual layers are kept; {result['frames']} frames x {result['img_size']}, "
        f"{result['mib_per_frame']:.2f} MiB a frame in {result['stored']}, "
        f"{result['threads']} thread(s)",
        f"{'':<12} {'seconds':>9} {'CPU s':>9} {'CPU / off':>10}",
    ]
    for name in ("step", "encode"):
        for way in WAYS:
            wall, cpu = seconds[f"{name} {way}"]
            ratio = cpu / max(seconds[f"{name} off"][1], 1e-9)
            lines.append(f"{f'{name} {way}':<12} {wall:>9.3f} {cpu:>9.3f} {ratio:>10.3f}")
    lines.append(f"{'of a batch':<12} {'seconds':>9} {'CPU s':>9} {'CPU / prefix':>13}")
    for name in ("prefix", "hash", "read", "write"):
        wall, cpu = seconds[name]
        ratio = cpu / max(seconds["prefix"][1], 1e-9)
        lines.append(f"{name:<12} {wall:>9.4f} {cpu:>9.4f} {ratio:>13.4f}")
    error = result["error"]
    lines.append(
        f"largest difference of the tokens from those without the cache: cold {error['cold']:g}, "
        f"warm {error['warm']:g}; warm equals cold bit for bit: {result['warm_is_cold']}"
    )
    lines.append(
        f"digest of the weights, each epoch and before writing: "
        f"{result['fingerprint_seconds']:.3f} CPU s; a look for changes, each call: "
        f"{result['look_seconds']:.4f} CPU s"
    )
    return "\n".join(lines)


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    try:
        with tempfile.TemporaryDirectory(prefix="prefix_cache_", dir=args.dir) as name:
            result = measure(args, Path(name) / "cache")
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(json.dumps(result) if args.json else as_table(result))


if __name__ == "__main__":
    main()
