"""Checkpoints of CLIP4Clip (mean pooling) and of UniPT beside it: ``pytorch_model.bin.EPOCH``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..files import read, read_state_dict
from .clip import CLIP, as_float32, export_clip, split_fused
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
# Their matrices have half precision: 11 bits.
_HALF = 2.0**-10

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
    state = split_fused(as_float32(content.tensors, notes))
    if any(name.startswith(tuple(f"{side}." for side in _SIDES)) for name in state):
        notes.append(_compare(state, getattr(model, "pretrained", None), path))
    return state, notes


def _compare(state: State, pretrained: str | None, path: str | Path) -> str:
    """Hold the frozen part of a file against the config's backbone; say what was done."""
    if not pretrained or not Path(pretrained).exists():
        return (
            "the frozen part was not compared with the backbone in use: model.pretrained="
            f"{pretrained!r} is not there; it is converted with the rest"
        )
    own, compared = read_state_dict(pretrained), 0
    for name, tensor in state.items():
        found = CLIP4CLIP.to_ours(name)
        # What the backbone's file lacks, and other shapes, are looked at later.
        if found is None or found[0] not in own or not name.startswith(_CLIP):
            continue
        ours, pair = found
        theirs = tensor if pair.read is None else pair.read(tensor)
        mine = own[ours].float()
        if mine.shape != theirs.shape:
            continue
        compared += 1
        if not torch.allclose(theirs, mine, rtol=_HALF, atol=1e-6):
            gap = float((theirs - mine).abs().max())
            raise ValueError(
                f"{path}: {name} differs by up to {gap:.3g} from {ours} in {pretrained}: the side "
                "networks were trained beside another backbone. Name its weights in "
                "model.pretrained, or None to convert the file's own with them."
            )
    return f"the frozen part is that of {pretrained} ({compared} tensors compared)"


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
