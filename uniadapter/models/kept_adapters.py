"""Adapters that are kept beside the one that acts: their tensors, and all else that is theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from uniadapter.checkpoints.state import KEPT_ADAPTERS, TRAINING_STATE

from .adapters.base import Adapter
from .fillings import Fillings

Tensors = dict[str, torch.Tensor]


class KeptAdapter(nn.Module):
    """An adapter that does not act now, with all that belongs to it.

    Its tensors move and are copied with the model, which has them under
    ``adapters.<name>.adapter`` and, of heads, ``adapters.<name>.own``.

    Args:
        adapter (Adapter, optional): The method; None: the bare backbone with heads of its own.
        own (Mapping[str, Tensor]): The model's tensors outside of it that belong to it, by name.
    """

    def __init__(self, adapter: Adapter | None, own: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self.adapter = adapter
        self.own = nn.Module()
        for name, tensor in own.items():
            # A tensor's name in a module has no dots.
            key = name.replace(".", "/")
            if isinstance(tensor, nn.Parameter):
                self.own.register_parameter(key, tensor)
            else:
                self.own.register_buffer(key, tensor)
        self.fillings = Fillings()
        self.attributes: dict[str, Any] = {}

    def tensors(self) -> Tensors:
        """What belongs to it outside of the method, by the names that the model has for it."""
        own = {**self.own._parameters, **self.own._buffers}
        return {key.replace("/", "."): t for key, t in own.items() if t is not None}


def put_tensors(model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put tensors in the place of those of the same names, wherever those are tied to.

    The objects are exchanged, not their values: an optimizer's states stay those of its own.

    Args:
        model (nn.Module): The model.
        tensors (Mapping[str, Tensor]): Parameters and buffers by name.
    """
    holders: dict[int, list[tuple[dict[str, Any], str]]] = {}
    current: dict[str, int] = {}
    for path, module in model.named_modules():
        if path.startswith(f"{KEPT_ADAPTERS}."):
            continue
        for held in (module._parameters, module._buffers):
            for leaf, tensor in held.items():
                holders.setdefault(id(tensor), []).append((held, leaf))
                current[f"{path}.{leaf}".lstrip(".")] = id(tensor)
    for name, tensor in tensors.items():
        for held, leaf in holders[current[name]]:
            held[leaf] = tensor


def running_parts(modules: Mapping[str, nn.Module | None]) -> list[str]:
    """Names of the modules that hold what a run in progress remembers."""
    running = [key for key in modules if f"{key}." in TRAINING_STATE]
    return [key for key in running if modules[key] is not None]
