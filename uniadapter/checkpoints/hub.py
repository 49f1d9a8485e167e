"""Safetensors files for MMEngine's ``load_checkpoint``, and so for ``mmengine.hub.get_model``."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.runner import CheckpointLoader

from .files import read


# MMEngine takes a prefix for a regular expression; those of addresses (http, s3) go before this.
@CheckpointLoader.register_scheme(prefixes=r".*\.safetensors$", force=True)
def load_from_safetensors(filename: str, map_location: Any = None) -> dict[str, torch.Tensor]:
    """Read a local safetensors file, one of the project's from any folder.

    Args:
        filename: A path as in a metafile's ``Weights``.
        map_location: Device of the tensors; other kinds of ``torch.load``'s argument leave them on
            the CPU.

    Returns:
        Tensors by name.
    """
    tensors = read(filename).tensors
    if isinstance(map_location, str | torch.device):
        tensors = {name: tensor.to(map_location) for name, tensor in tensors.items()}
    return tensors
