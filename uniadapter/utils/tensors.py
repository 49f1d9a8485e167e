"""Leaves about tensors: their bytes, and the precision that losses and scores are taken in."""

from __future__ import annotations

import torch
from torch import Tensor


def as_bytes(t: Tensor) -> Tensor:
    """The content of a tensor, in row-major order.

    Args:
        t: Of any shape, type and layout.

    Returns:
        (nbytes,) uint8 on the device of ``t``; its memory where that is contiguous, else a copy.
    """
    flat = t.detach().contiguous().flatten()
    # A single number may be contiguous and have any stride, which a view as bytes refuses.
    return flat.as_strided(flat.shape, (1,)).view(torch.uint8)


def at_least_float32(t: Tensor) -> Tensor:
    """Half precision as float32; float32 and float64 as they are."""
    return t.to(torch.promote_types(t.dtype, torch.float32))


def why_unread(value: object) -> str | None:
    """What is special about a tensor that no parameter can be filled from; None of any other value.

    Args:
        value (Any): What a file or a model holds.
    """
    if not isinstance(value, torch.Tensor):
        return None
    if value.layout is not torch.strided:
        return "a sparse tensor"
    if value.is_quantized:
        return "a quantized tensor"
    return "a tensor without values (of the meta device)" if value.is_meta else None
