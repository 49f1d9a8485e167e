"""UniPT's claim, a fraction of the memory: a training step beside those of other methods."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from uniadapter.datasets.tap_store import TapStore
from uniadapter.engine.hooks.tap_store import layers_of, want_of
from uniadapter.models.execution import Words
from uniadapter.structures import KeptStates

from .beside_full import TITLES, as_lines, cells, relate
from .measure import measure_apart
from .tap_reader import DTYPE
from .variant import Stepper, Variant

#: Most that UniPT may take of full fine-tuning's memory above the built model, and of its time.
MEMORY, TIME, KEPT_TIME = 0.2, 0.5, 0.15
_CLIP4CLIP = "configs/unipt/clip4clip_msrvtt"
_SIDE = {"towers": ["visual", "text"], "bottleneck": 512, "scale": 0.1}


@dataclass(frozen=True)
class Case:
    """A model and the methods that are measured on it.

    Attributes:
        title: What the table calls it.
        batch_size: Media a step.
        frames: Frames a medium.
        img_size: Side in pixels.
        methods: By name the config and changes of it; the first is full fine-tuning.
    """

    title: str
    batch_size: int
    frames: int
    img_size: int
    methods: dict[str, tuple[str, dict[str, Any]]]


def _with(**adapter: Any) -> tuple[str, dict[str, Any]]:
    return f"{_CLIP4CLIP}.py", {"model.adapter": {"_delete_": True, **adapter}}


CASES = {
    "clip4clip": Case(
        "CLIP4Clip, ViT-B/32",
        4,
        12,
        224,
        {
            "full fine-tuning": (f"{_CLIP4CLIP}_full_finetune.py", {}),
            "UniAdapter r=512": _with(type="UniAdapter", **_SIDE),
            "LoRA r=512": _with(type="LoRA", rank=512),
            "UniPT": (f"{_CLIP4CLIP}.py", {}),
            "UniPT, taps on disk": (f"{_CLIP4CLIP}.py", {}),
        },
    ),
    "blip": Case(
        "BLIP-base, ITC and ITM",
        2,
        8,
        224,
        {
            "full fine-tuning": ("configs/full_finetune/msrvtt.py", {}),
            "UniAdapter r=512": ("configs/uniadapter/msrvtt_r512.py", {}),
            "LoRA r=512": ("configs/lora/msrvtt_r512.py", {}),
            "UniPT": ("configs/unipt/msrvtt_blip.py", {}),
        },
    ),
}


def variant_of(case: Case, name: str, options: dict[str, Any], small: bool) -> Variant:
    """What is run.

    Args:
        case (Case): The case.
        name (str): The method.
        options (dict): Changes of every config by dotted key.
        small (bool): Leave the image's side to the options.
    """
    config, own = case.methods[name]
    prefix = "model.adapter."
    given = {k: v for k, v in options.items() if not k.startswith(prefix)}
    if name == "UniAdapter r=512":
        adapter = {k: v for k, v in options.items() if k.startswith(prefix)}
        if "model.adapter" in own:
            plain = {k.removeprefix(prefix): v for k, v in adapter.items()}
            own = {"model.adapter": {**own["model.adapter"], **plain}}
        else:
            given.update(adapter)
    return Variant(
        config,
        {**own, **given},
        batch_size=case.batch_size,
        frames=case.frames,
        img_size=None if small else case.img_size,
    )


@torch.no_grad()
def write_taps(variant: Variant, folder: Path) -> int:
    """Keep the taps of a variant's batch; returns their bytes on disk."""
    stepper = Stepper(replace(variant, mode="predict"))
    model, batch = stepper.model.eval(), stepper.batch
    layers, want = layers_of(model), want_of(model)
    store = TapStore(folder, {"dtype": DTYPE}, layers)
    store.begin()
    words = Words(batch["input_ids"], batch["attention_mask"])
    read = model.role("text").keep_words(words, layers[1], want)
    for row, pixels in enumerate(batch["pixels"]):
        length = int(words.mask[row].sum())
        states = KeptStates(read.hidden[row : row + 1, :, :length], read.out[row : row + 1])
        frames = model.role("visual").keep_frames(pixels, layers[0], want)
        store.put(row, frames, {row: ("", words.ids[row, :length], states)})
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors"))


def measure_unipt(
    cases: Iterable[str], options: dict[str, Any], small: bool, steps: tuple[int, int, int]
) -> dict[str, Any]:
    """Measure the methods of some cases, each in a process of its own.

    Args:
        cases (Iterable[str]): Of :data:`CASES`.
        options (dict): Changes of every config by dotted key (a smaller model).
        small (bool): See :func:`variant_of`.
        steps (tuple): Measured steps, steps before them, threads.

    Returns:
        dict: By case and method what :func:`measure_apart` gives, what :func:`relate` adds, and
        ``tap_mib`` of a medium and its text where taps are on disk.
    """
    results: dict[str, Any] = {}
    for key in cases:
        case, runs = CASES[key], {}
        for name in case.methods:
            print(f"{case.title}: {name}", file=sys.stderr)
            variant = variant_of(case, name, options, small)
            with tempfile.TemporaryDirectory() as folder:
                size = None
                if "on disk" in name:
                    size = write_taps(variant, Path(folder)) / case.batch_size / 2**20
                    variant = replace(variant, taps=folder)
                runs[name] = {**measure_apart(variant, *steps), "tap_mib": size}
            # A long run shows what it has, should it be stopped.
            print(f"{name}: {runs[name]}", file=sys.stderr)
        relate(runs)
        results[key] = runs
    return results


def aims(name: str, result: dict[str, Any]) -> str:
    """Which aims a method has, and whether it meets them."""
    if not name.startswith("UniPT"):
        return ""
    time = KEPT_TIME if result["tap_mib"] is not None else TIME
    pairs = ((result["time"], time, "time"), (result["memory"], MEMORY, "memory"))
    return ", ".join(
        f"{what} <= {most}: {'yes' if value <= most else 'no'}" for value, most, what in pairs
    )


def as_table(results: dict[str, Any]) -> str:
    """Lay the results out as Markdown, a table a case."""
    parts = []
    for key, runs in results.items():
        case, first = CASES[key], next(iter(runs.values()))
        rows = []
        for name, result in runs.items():
            size = "" if result["tap_mib"] is None else f" ({result['tap_mib']:.1f} MiB a pair)"
            rows.append([*cells(name + size, result), aims(name, result)])
        lines = [
            f"{case.title}: {first['batch_size']} media x {first['frames']} frames x "
            f"{first['img_size']}, {first['threads']} thread(s), torch {first['torch']}",
            "",
            *as_lines((*TITLES, "aims"), rows, text=1),
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)
