"""Attention matrices of ``nn.MultiheadAttention``: queries, keys and values in one."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

from .keys import State

_FUSED = re.compile(r"(.*\.in_proj_(?:weight|bias))(?:\[([qkv])\])?")
_QKV = "qkv"


def split_fused(state: State, path: object = "The file") -> State:
    """Put thirds, ``NAME[q]``, ``NAME[k]`` and ``NAME[v]``, in the place of fused projections.

    Args:
        state (dict[str, Tensor]): Tensors by foreign name.
        path (str | Path): Their file, for the error.

    Raises:
        ValueError: If a fused projection has no three equal parts.
    """
    found: State = {}
    for name, tensor in state.items():
        match = _FUSED.fullmatch(name)
        if match is None:
            found[name] = tensor
            continue
        if not tensor.dim() or len(tensor) % 3:
            raise ValueError(
                f"{path}: {name} of shape {tuple(tensor.shape)} has no three parts of equal size: "
                "the file is damaged or another model's."
            )
        found.update({f"{name}[{x}]": part for x, part in zip(_QKV, tensor.chunk(3), strict=True)})
    return found


def join_fused(state: State, used: Mapping[str, str]) -> tuple[State, dict[str, str]]:
    """Put thirds together again.

    Args:
        state (dict[str, Tensor]): Tensors by foreign name, thirds as :func:`split_fused` calls
            them.
        used (Mapping[str, str]): Foreign names by ours.

    Returns:
        tuple: Tensors by foreign name, and those names by ours.

    Raises:
        ValueError: If a projection of queries, keys or values is there without the other two.
    """
    whole, thirds = State(), dict[str, State]()
    for name, tensor in state.items():
        match = _FUSED.fullmatch(name)
        if match is None:
            whole[name] = tensor
        else:
            thirds.setdefault(match[1], {})[match[2]] = tensor
    for name, parts in thirds.items():
        if set(parts) != set(_QKV):
            raise ValueError(f"{name} needs queries, keys and values; there are {sorted(parts)}.")
        whole[name] = torch.cat([parts[letter] for letter in _QKV])
    return whole, {ours: re.sub(r"\[[qkv]\]$", "", name) for ours, name in used.items()}
