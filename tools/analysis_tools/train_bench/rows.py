"""The rows of the table of training steps."""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass
from typing import Any

import torch

from .measure import count_operations, device_rate, measure_apart, time_in_turns
from .variant import Stepper, Variant

VIDEO = "configs/uniadapter/msrvtt_r512.py"
IMAGE = "configs/uniadapter/coco_r512.py"
QUESTION = "configs/uniadapter/vqav2_r512.py"
#: Other backbones by the name of their row: what the table calls them, and their config.
BACKBONES = {
    "blip_large": ("BLIP-Large", "configs/uniadapter/flickr30k_blip_large_r512.py"),
    "albef": ("ALBEF", "configs/uniadapter/flickr30k_albef_r512.py"),
    "beit3_base": ("BEiT-3 base", "configs/uniadapter/flickr30k_beit3_base_r512.py"),
    "beit3_large": ("BEiT-3 large", "configs/uniadapter/flickr30k_beit3_large_r512.py"),
    "clip": ("CLIP ViT-B/16", "configs/uniadapter/flickr30k_clip_r512.py"),
}
FULL = {"model.adapter": None, "model.train_backbone": True}
#: Largest difference of the losses (without dropout) that counts as equal.
EQUAL = {"fp32": 1e-4, "bf16": 0.05}


@dataclass(frozen=True)
class Row:
    """Two variants of a case and what their ratio must not exceed.

    Attributes:
        name: Its name on the command line.
        case: The case, whose variants are timed in turns in one process.
        first: The variant the others are compared with.
        second: The variant that should be faster.
        time: Largest ratio of seconds, second to first.
        memory: Largest ratio of peak memory. None: not part of the row.
        equal: Whether both must have the same losses.
        what: What is measured, for the table.
    """

    name: str
    case: str
    first: str
    second: str
    time: float
    memory: float | None
    equal: bool
    what: str


ROWS = (
    Row("retrieval", "video", "naive", "ours", 0.85, 0.6, True, "retrieval, fp32 / naive fp32"),
    Row("retrieval_bf16", "video", "naive", "ours bf16", 0.4, 0.5, True, "bf16 / naive fp32"),
    Row("upper_layers", "video", "ours", "layers 5-12", 0.82, None, False, "layers 5-12 / 1-12"),
    Row("image", "image", "full", "ours", 0.65, 0.5, False, "image retrieval / full fine-tuning"),
    Row("vqa", "vqa", "full", "ours", 0.6, 0.43, False, "VQA / full fine-tuning"),
    *(
        Row(name, name, "full", "ours", 0.9, 0.6, False, f"{title} / full fine-tuning")
        for name, (title, _) in BACKBONES.items()
    ),
)
#: Least share of the matrix product's rate, for a training step in fp32.
SHARE = 0.6


def cases(options: dict[str, Any]) -> dict[str, dict[str, Variant]]:
    """The variants of each case by name; ``options`` change every config (a smaller model)."""
    video = {"batch_size": 2, "frames": 8}
    image = {"batch_size": 4, "frames": 1}
    if "model.visual.img_size" not in options:
        image["img_size"] = 224
    upper = {"model.adapter.layers": "5-12", **options}
    # Without an adapter there is none to give options.
    full = {**FULL, **{k: v for k, v in options.items() if not k.startswith("model.adapter.")}}
    bf16 = {"precision": "bf16", "frozen_bf16": True}
    return {
        "video": {
            "naive": Variant(VIDEO, options, naive=True, **video),
            "ours": Variant(VIDEO, options, **video),
            "ours bf16": Variant(VIDEO, options, **bf16, **video),
            "layers 5-12": Variant(VIDEO, upper, **video),
        },
        "image": {
            "full": Variant(IMAGE, {**full, "model.pfa": None}, **image),
            "ours": Variant(IMAGE, options, **image),
        },
        "vqa": {
            "full": Variant(QUESTION, full, **image),
            "ours": Variant(QUESTION, options, **image),
        },
        **{
            name: {
                "full": Variant(config, full, batch_size=2, frames=1),
                "ours": Variant(config, options, batch_size=2, frames=1),
            }
            for name, (_, config) in BACKBONES.items()
        },
    }


def measure_case(
    variants: dict[str, Variant], rounds: int, warmup: int, threads: int
) -> dict[str, dict[str, Any]]:
    """Measure the variants of a case: times in turns in this process, memory in one each."""
    steppers = {name: Stepper(variant) for name, variant in variants.items()}
    same = [name for name, s in steppers.items() if s.variant.options == _first(variants).options]
    losses = {}
    if len(same) > 1 and _first(variants).naive:
        losses = {name: steppers[name].loss_without_dropout() for name in same}
    seconds = time_in_turns(steppers, rounds, warmup)
    results: dict[str, dict[str, Any]] = {}
    for name, stepper in steppers.items():
        rate = device_rate(stepper.variant.precision, device=stepper.variant.device)
        results[name] = {
            "seconds": statistics.median(seconds[name]),
            "all_seconds": seconds[name],
            "loss_without_dropout": losses.get(name),
            "gflop": count_operations(stepper) / 1e9,
            "matmul_gflops": rate / 1e9,
            "trainable": stepper.trainable,
        }
    # A long run shows what it has, should it be stopped.
    print(*(f"{name}: {result}" for name, result in results.items()), sep="\n", file=sys.stderr)
    del steppers
    for name, variant in variants.items():
        print(f"peak memory of {name!r}", file=sys.stderr)
        alone = measure_apart(variant, 1, 1, threads)
        results[name].update({key: alone[key] for key in ("peak_gib", "start_gib", "built_gib")})
        print(f"{results[name]['peak_gib']} GiB", file=sys.stderr)
    return results


def _first(variants: dict[str, Variant]) -> Variant:
    return next(iter(variants.values()))


def finished_row(row: Row, results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Put a row's figures together; ``met`` says whether every bound holds."""
    first, second = results[row.first], results[row.second]
    rate = second["matmul_gflops"]
    out: dict[str, Any] = {
        "name": row.name,
        "what": row.what,
        "time_bound": row.time,
        "memory_bound": row.memory,
        "time_ratio": second["seconds"] / first["seconds"],
        "memory_ratio": second["peak_gib"] / first["peak_gib"],
        "counted_ratio": second["gflop"] / first["gflop"],
        "first": {"name": row.first, **first},
        "second": {"name": row.second, **second},
        "share_of_matmul_rate": second["gflop"] / second["seconds"] / rate,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    met = out["time_ratio"] <= row.time
    if row.memory is not None:
        met = met and out["memory_ratio"] <= row.memory
    if row.equal:
        error = abs(second["loss_without_dropout"] - first["loss_without_dropout"])
        out["loss_error"] = error
        met = met and error <= EQUAL["bf16" if "bf16" in row.second else "fp32"]
    out["met"] = met
    return out


def as_table(rows: list[dict[str, Any]]) -> str:
    """Lay rows out as text."""
    lines = [
        f"{rows[0]['threads']} thread(s), torch {rows[0]['torch']}",
        f"{'row':<38}{'time':>6}{'bound':>7}{'memory':>8}{'bound':>7}{'s':>7}{'of s':>7}"
        f"{'GiB':>7}{'of GiB':>8}{'counted':>9}{'share':>7}{'loss error':>12}  met",
    ]
    for row in rows:
        first, second = row["first"], row["second"]
        bound = row["memory_bound"]
        error = row.get("loss_error")
        lines.append(
            f"{row['what']:<38}{row['time_ratio']:>6.2f}{row['time_bound']:>7.2f}"
            f"{row['memory_ratio']:>8.2f}{'-' if bound is None else f'{bound:.2f}':>7}"
            f"{second['seconds']:>7.2f}{first['seconds']:>7.2f}{second['peak_gib']:>7.2f}"
            f"{first['peak_gib']:>8.2f}{row['counted_ratio']:>9.2f}"
            f"{row['share_of_matmul_rate']:>7.0%}{'-' if error is None else f'{error:.1e}':>12}"
            f"  {'yes' if row['met'] else 'no'}"
        )
    return "\n".join(lines)
