"""From a config of the paper's size to what the same row differs in on the small backbone.

The rule: widths of adapters are a sixteenth (512 -> 32, as ``configs/tiny`` has it), at least 1; of
12 layers 1-4 are layer 1 of 4, 5-8 are layers 2 and 3, 9-12 are layer 4; everything else stays,
except what a short training needs: UniAdapter's factor is 1, PFA is sharper (``configs/tiny``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SHRINK = 16
#: Options of adapters that are widths or lengths.
_WIDTHS = ("bottleneck", "rank", "prefix")
_LAYERS = ("layers", "shared_layers")
#: Layers of the paper's 12, and those of the small tower's 4 that stand for them.
_THIRDS = (((1, 2, 3, 4), (1,)), ((5, 6, 7, 8), (2, 3)), ((9, 10, 11, 12), (4,)))
_FLAGS = ("train_backbone", "train_heads", "train_lm_head")
#: Switches that a small model may have on where the row has them off.
_OFF = ("train_norms", "train_biases")


def small_width(width: int) -> int:
    """A width of the small row: a sixteenth, to the nearest."""
    return max(1, round(width / SHRINK))


def small_layers(layers: str) -> str:
    """Layers of the small towers, such as ``'2-3,4'`` for ``'5-12'``.

    Raises:
        ValueError: If a third of the 12 is taken in part.
    """
    numbers: set[int] = set()
    for part in layers.split(","):
        first, _, last = part.partition("-")
        numbers |= set(range(int(first), int(last or first) + 1))
    small: list[int] = []
    for third, ours in _THIRDS:
        taken = numbers & set(third)
        if taken and taken != set(third):
            raise ValueError(f"layers {layers!r}: {third[0]}-{third[-1]} stand together here.")
        small += ours if taken else ()
    return ",".join(map(str, small))


def small_adapter(adapter: Mapping[str, Any] | None, own_scale: float) -> dict[str, Any] | None:
    """An adapter's config for the small towers.

    Args:
        adapter: That of the paper's size; None has none.
        own_scale: UniAdapter's factor s here.
    """
    if adapter is None:
        return None
    small = {key: value for key, value in adapter.items() if key != "_scope_"}
    small.update({key: small_width(small[key]) for key in _WIDTHS if key in small})
    small.update({key: small_layers(small[key]) for key in _LAYERS if small.get(key)})
    if small["type"] == "UniAdapter":
        small["scale"] = own_scale
    return small


def apply(model: dict[str, Any], paper: Mapping[str, Any]) -> None:
    """Make a small model's config the twin of a row.

    Args:
        model: The small UniAdapter's, which is changed: its ``pfa`` and ``adapter.scale`` are kept
            where the row has a PFA and a UniAdapter.
        paper: That of the row at the paper's size.
    """
    own_scale = model["adapter"].get("scale", 1.0)
    model["adapter"] = small_adapter(paper.get("adapter"), own_scale)
    if "pfa" in model and paper.get("pfa") is None:
        model["pfa"] = None
    model.update({key: paper[key] for key in _FLAGS if key in paper})
    model.update({key: paper.get(key, False) for key in _OFF if key in paper or key in model})
