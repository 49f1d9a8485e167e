"""A joint step of VL-BART with VL-Adapter's methods, beside full fine-tuning."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from .beside_full import TITLES, as_lines, cells, relate
from .measure import measure_apart
from .variant import Variant

#: Methods by the end of their config's name, and what the table calls them.
METHODS = {
    "full": "full fine-tuning",
    "single": "single adapter",
    "multiple": "multiple adapters",
    "half_shared": "half-shared adapters",
    "lora_single": "LoRA, single",
    "prompt_single": "prompt, single",
    "compacter_single": "Compacter, single",
    "hyperformer": "Hyperformer",
}
#: Those that are measured if none is named.
DEFAULT = ("full", "single", "lora_single", "prompt_single", "compacter_single", "hyperformer")
#: Texts a step, each with a picture, and tokens of a text and of a target, as VQA has them.
BATCH_SIZE, TEXT_LENGTH, TARGET_LENGTH = 32, 20, 10
_ADAPTER = "model.adapter"


def variant_of(name: str, options: dict[str, Any]) -> Variant:
    """What is run of a method; ``options`` change its config by dotted key."""
    return Variant(
        f"configs/vl_adapter/bart_image_{name}.py",
        options,
        batch_size=BATCH_SIZE,
        frames=1,
        text_length=TEXT_LENGTH,
        target_length=TARGET_LENGTH,
    )


def measure_vl_adapter(
    names: Iterable[str], options: dict[str, Any], steps: tuple[int, int, int]
) -> dict[str, Any]:
    """Measure methods, each in a process of its own; full fine-tuning first, named or not.

    Args:
        names (Iterable[str]): Of :data:`METHODS`.
        options (dict): Changes of every config by dotted key (a smaller model).
        steps (tuple): Measured steps, steps before them, threads.

    Returns:
        dict: By method what :func:`measure_apart` gives, and what :func:`relate` adds.

    Raises:
        ValueError: If an option is one of an adapter, of which every row has another.
    """
    for key in options:
        if key == _ADAPTER or key.startswith(f"{_ADAPTER}."):
            raise ValueError(
                f"--vl-adapter measures the adapters of its configs and does not read {key}: "
                "leave it out."
            )
    chosen = {"full", *names}
    runs = {}
    for name in METHODS:
        if name in chosen:
            print(METHODS[name], file=sys.stderr)
            runs[name] = measure_apart(variant_of(name, options), *steps)
            # A long run shows what it has, should it be stopped.
            print(f"{name}: {runs[name]}", file=sys.stderr)
    relate(runs)
    return runs


def as_table(runs: dict[str, Any]) -> str:
    """Lay the runs out as Markdown."""
    first = next(iter(runs.values()))
    count, width = first["features"]
    lines = [
        f"{first['batch_size']} texts of {first['text_length']} tokens, each with {count} features "
        f"of {width}, and targets of {first['target_length']}, {first['threads']} thread(s), "
        f"torch {first['torch']}",
        "",
        *as_lines(TITLES, [cells(METHODS[name], run) for name, run in runs.items()]),
    ]
    return "\n".join(lines)
