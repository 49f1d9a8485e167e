"""Holding the frozen part of a foreign file against the backbone in use."""

from __future__ import annotations

from pathlib import Path

import torch

from uniadapter.utils.paths import find_file

from ..files import read_state_dict
from .keys import Layout, State

# Files may hold half precision: 11 bits.
_HALF = 2.0**-10


def compare_frozen(state: State, layout: Layout, pretrained: str | None, path: str | Path) -> str:
    """See that side networks were trained beside the config's backbone.

    Side networks of another backbone would compute nonsense. Tensors that either side lacks, and
    other shapes, are looked at when the file is fitted to the model.

    Args:
        state (dict[str, Tensor]): Tensors by their name.
        layout (Layout): The layout.
        pretrained (str, optional): ``model.pretrained``.
        path (str | Path): The foreign file, for the error.

    Returns:
        str: What was done, for the report.

    Raises:
        ValueError: If a tensor differs by more than half precision.
    """
    if not pretrained or not find_file(pretrained).exists():
        return (
            "the frozen part was not compared with the backbone in use: model.pretrained="
            f"{pretrained!r} is not there; it is converted with the rest"
        )
    own, compared = read_state_dict(pretrained), 0
    for name, tensor in state.items():
        found = layout.to_ours(name)
        if found is None or found[0] not in own or found[0].startswith("adapter."):
            continue
        ours, pair = found
        theirs = pair.read_from(tensor, name, path).float()
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
