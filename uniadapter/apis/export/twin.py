"""A model beside another one that shares its weights and nothing else."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from uniadapter.models.fast import FastPaths


def float32_twin(model: Any, device: str | torch.device = "cpu") -> Any:
    """A copy in evaluation mode whose tensors are those of the model, where they are float32.

    What is stored otherwise, or elsewhere, is copied. Whatever is done to the twin but to its
    tensors leaves the model as it is.

    Args:
        model: A model of the project.
        device: Where the twin is.
    """
    tensors = [*model.parameters(), *model.buffers()]
    twin = copy.deepcopy(model, {id(t): _float32(t, torch.device(device)) for t in tensors})
    if twin.frozen_dtype is not None:
        # Its weights are those that were rounded.
        twin.frozen_dtype, twin.frozen_fingerprint = None, None
    twin.data_preprocessor.to(device)
    return twin.eval()


def plain(model: Any) -> Any:
    """The model, which from now on computes the plain way and keeps nothing on disk."""
    model.fast = FastPaths.build(False)
    model.prefix_cache = None
    return model


def _float32(tensor: Tensor, device: torch.device) -> Tensor:
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    found = tensor.detach().to(device, dtype)
    if found.data_ptr() == tensor.data_ptr() and found.dtype == tensor.dtype:
        return tensor
    return nn.Parameter(found, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else found
