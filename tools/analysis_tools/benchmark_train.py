"""Time real training steps of a config's model on random weights and data; measure peak memory."""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from mmengine.config import Config, DictAction
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import DefaultScope

from uniadapter.apis.model import build_model
from uniadapter.models.tasks import VisionLanguageModel
from uniadapter.registry import SCOPE
from uniadapter.utils.config import load_config

PRECISIONS = ("fp32", "bf16")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file of a retrieval model")
    parser.add_argument("--batch-size", type=int, default=2, help="videos a step")
    parser.add_argument("--frames", type=int, default=8, help="frames a video")
    parser.add_argument("--img-size", type=int, help="side in pixels (default: the config's)")
    parser.add_argument("--text-length", type=int, default=35, help="tokens a text")
    parser.add_argument("--precision", choices=(*PRECISIONS, "both"), default="both")
    parser.add_argument("--steps", type=int, default=3, help="measured steps")
    parser.add_argument("--warmup", type=int, default=1, help="steps before the measured ones")
    parser.add_argument("--threads", type=int, help="threads of torch (default: torch's own)")
    parser.add_argument(
        "--grad-checkpointing", action="store_true", help="recompute layers in the backward pass"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=DictAction,
        metavar="KEY=VALUE",
        help="override config values, e.g. model.adapter.bottleneck=128",
    )
    args = parser.parse_args(argv)
    for name in ("batch_size", "frames", "text_length", "steps", "img_size", "threads"):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} {value} must be at least 1")
    if args.warmup < 0:
        parser.error(f"--warmup {args.warmup} must be at least 0")
    return args


def read_config(args: argparse.Namespace) -> Config:
    """Read the config and put in what the command line says about the model."""
    cfg = load_config(args.config, args.cfg_options)
    for key in ("model", "optim_wrapper"):
        if key not in cfg:
            raise ValueError(f"{args.config} has no key {key!r}: name a training config.")
    if args.img_size is not None:
        cfg.model.visual.img_size = args.img_size
    if args.grad_checkpointing:
        cfg.model.grad_checkpointing = True
    return cfg


def random_batch(cfg: Config, args: argparse.Namespace) -> dict[str, torch.Tensor]:
    """Random inputs of the sizes a training batch has, as the data preprocessor returns them."""
    size = cfg.model.visual.get("img_size", 224)
    texts = (args.batch_size, args.text_length)
    # The last two words are [DEC] and [ENC], which no caption holds.
    vocabulary = cfg.model.text.get("vocab_size", 30524) - 2
    return {
        "pixels": torch.randn(args.batch_size, args.frames, 3, size, size),
        "input_ids": torch.randint(1, vocabulary, texts),
        "attention_mask": torch.ones(texts, dtype=torch.long),
        "media_ids": torch.arange(args.batch_size),
    }


def train_step(
    model: VisionLanguageModel,
    wrapper: OptimWrapper,
    batch: dict[str, torch.Tensor],
    autocast: AbstractContextManager,
) -> float:
    """One step: losses, backward pass, optimizer; the loss updates averages and queue itself."""
    with autocast:
        loss, _ = model.parse_losses(model(**batch, mode="loss"))
    wrapper.update_params(loss)
    return float(loss.detach())


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run the steps in this process, which should be a fresh one.

    Returns:
        dict: ``seconds_per_step`` (median), ``cpu_seconds_per_step`` (median over the threads'
        sum, which other load on the machine hardly changes), ``peak_gib`` (resident memory of the
        whole process, GiB), ``loss`` of the last step and what was run on.
    """
    torch.manual_seed(0)
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    cfg = read_config(args)
    model = build_model(cfg.model.to_dict()).train()
    with DefaultScope.overwrite_default_scope(SCOPE):
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    batch = random_batch(cfg, args)
    seconds, cpu_seconds, loss = [], [], 0.0
    for step in range(args.warmup + args.steps):
        autocast: AbstractContextManager = nullcontext()
        if args.precision == "bf16":
            autocast = torch.autocast("cpu", torch.bfloat16)
        start, cpu_start = time.perf_counter(), time.process_time()
        loss = train_step(model, wrapper, batch, autocast)
        if step >= args.warmup:
            seconds.append(time.perf_counter() - start)
            cpu_seconds.append(time.process_time() - cpu_start)
        message = f"{args.precision}: step {step + 1}/{args.warmup + args.steps}, loss {loss:.3f}"
        print(message, file=sys.stderr)
    return {
        "precision": args.precision,
        "seconds_per_step": round(statistics.median(seconds), 3),
        "cpu_seconds_per_step": round(statistics.median(cpu_seconds), 3),
        "peak_gib": round(peak_bytes() / 2**30, 3),
        "loss": loss,
        "batch_size": args.batch_size,
        "frames": args.frames,
        "img_size": cfg.model.visual.get("img_size", 224),
        "text_length": args.text_length,
        "grad_checkpointing": bool(cfg.model.get("grad_checkpointing", False)),
        "trainable": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def peak_bytes() -> int:
    """Largest resident memory this process has had so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, Linux KiB.
    return peak if sys.platform == "darwin" else peak * 1024


def measure_apart(argv: list[str], precision: str) -> dict[str, Any]:
    """Measure one precision in a process of its own, so that its peak memory is its own."""
    command = [sys.executable, __file__, *argv, "--precision", precision, "--json"]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if process.returncode:
        raise RuntimeError(f"The {precision} run ended with code {process.returncode}, see above.")
    return json.loads(process.stdout.splitlines()[-1])


def as_table(rows: list[dict[str, Any]]) -> str:
    """Lay out results as a text table."""
    first = rows[0]
    lines = [
        f"{first['batch_size']} videos x {first['frames']} frames x {first['img_size']}, "
        f"{first['text_length']} tokens a text, {first['trainable']:,} trained parameters, "
        f"{first['threads']} thread(s), torch {first['torch']}",
        f"{'precision':<10} {'s/step':>8} {'CPU s/step':>11} {'peak GiB':>9}",
    ]
    lines += [
        f"{row['precision']:<10} {row['seconds_per_step']:>8.2f} "
        f"{row['cpu_seconds_per_step']:>11.2f} {row['peak_gib']:>9.2f}"
        for row in rows
    ]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    argv = sys.argv[1:] if argv is None else argv
    args = parse_args(argv)
    try:
        if args.precision == "both":
            read_config(args)
            results = [measure_apart(argv, precision) for precision in PRECISIONS]
        else:
            results = [measure(args)]
    except (FileNotFoundError, ValueError, RuntimeError) as error:
        sys.exit(f"error: {error}")
    if args.json:
        print(json.dumps(results if args.precision == "both" else results[0]))
    else:
        print(as_table(results))


if __name__ == "__main__":
    main()
