"""Checkpoints of CLIP4Clip (mean pooling) and of UniPT beside it: ``pytorch_model.bin.EPOCH``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..files import read
from .clip import CLIP, as_float32, export_clip, split_fused
from .frozen import compare_frozen
from .keys import Layout, Pair, State

_CLIP = "clip."
# Their name of a side network and ours.
_SIDES = {"image_adapter": "visual", "text_adapter": "text"}
# Index 0 of their sequences is a ReLU.
_PARTS = {
    "downsample_layers.{i}.1": "down.{i}.linear",
    "downsample_layer.1": "down_guide.linear",
    "upsample_layer.1": "up.linear",
    "gate_layer": "gate",
}

CLIP4CLIP = Layout(
    "clip4clip",
    (
        *(
            Pair(f"{theirs}.{a}.{{p}}", f"adapter.sides.{ours}.{b}.{{p}}")
            for theirs, ours in _SIDES.items()
            for a, b in _PARTS.items()
        ),
        *(replace(pair, theirs=_CLIP + pair.theirs) for pair in CLIP.pairs),
    ),
    tuple((rf"clip\.(?:{pattern})", reason) for pattern, reason in CLIP.left),
)


def read_clip4clip(path: str | Path, model: Any) -> tuple[State, list[str]]:
    """Read a file of CLIP4Clip, or of UniPT beside it.

    Where it has side networks, and the config's ``model.pretrained`` is on the disk, the frozen
    tensors must be those of it: side networks of another backbone would compute nonsense.

    Args:
        path (str | Path): The file, a flat state dict.
        model (VisionLanguageModel): Of the config; names the weights to compare with.

    Returns:
        tuple: Tensors by their name, float32, fused projections in three; and notes.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, holds no tensors, or its frozen part is another backbone's.
    """
    content = read(path)
    notes = [f"beside the weights, not used: {k} ({what})" for k, what in content.left.items()]
    state = split_fused(as_float32(content.tensors, notes), path)
    if any(name.startswith(tuple(f"{side}." for side in _SIDES)) for name in state):
        notes.append(compare_frozen(state, CLIP4CLIP, getattr(model, "pretrained", None), path))
    return state, notes


def export_clip4clip(state: State, **_: Any) -> tuple[State, dict[str, str]]:
    """Write an own state dict in the names of CLIP4Clip, with the side networks if it has some.

    Args:
        state (dict[str, Tensor]): Towers, heads, scale and side networks by our name.

    Returns:
        tuple: Tensors by their name, and our names to those.

    Raises:
        ValueError: If a projection of queries, keys or values is there without the other two.
    """
    frozen = {name: tensor for name, tensor in state.items() if not name.startswith("adapter.")}
    theirs, used = export_clip(frozen)
    theirs = {_CLIP + name: tensor for name, tensor in theirs.items()}
    used = {ours: _CLIP + name for ours, name in used.items()}
    for ours in state.keys() - frozen.keys():
        for name in CLIP4CLIP.to_theirs(ours):
            theirs[name], used[ours] = state[ours], name
    return theirs, used
