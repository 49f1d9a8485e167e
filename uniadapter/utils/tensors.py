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
