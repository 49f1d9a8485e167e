"""Adapters that are kept beside the one that acts: their tensors, and all else that is theirs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from uniadapter.checkpoints.state import KEPT_ADAPTERS, TRAINING_STATE, trained_state_dict

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
        self._trained: set[str] = set()

    def freeze(self) -> None:
        """Let nothing of it be trained, until :meth:`unfreeze`."""
        self._trained = {name for name, p in self.named_parameters() if p.requires_grad}
        self.requires_grad_(False)

    def unfreeze(self) -> None:
        """Let be trained what was before."""
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name in self._trained)

    def tensors(self) -> Tensors:
        """What belongs to it outside of the method, by the names that the model has for it."""
        own = {**self.own._parameters, **self.own._buffers}
        return {key.replace("/", "."): t for key, t in own.items() if t is not None}


def own_tensors(model: Any) -> Tensors:
    """Tensors outside of the method that belong to the active adapter, each once.

    What it trains, heads that it leaves frozen (another one may train them), and counters.

    Args:
        model (VisionLanguageModel): The model.
    """
    towers = {id(p) for tower in model.towers().values() for p in tower.parameters()}
    heads = [head.state_dict(keep_vars=True).values() for head in model.heads().values()]
    own = {id(tensor) for tensors in (*heads, model.scalars().values()) for tensor in tensors}
    parts = model.components()
    own = own - towers | {id(p) for name in model.trainable_components() for p in parts[name]}
    trained = set(trained_state_dict(model))
    found: Tensors = {}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        counter = name.startswith(TRAINING_STATE) and "." not in name
        outside = not name.startswith(("adapter.", f"{KEPT_ADAPTERS}."))
        if outside and (id(tensor) in own or name in trained or counter):
            found[name] = tensor
    return found


def tensors_of(model: nn.Module, names: Iterable[str]) -> Tensors:
    """Parameters and buffers of a model by name."""
    found: Tensors = {}
    for name in names:
        path, _, leaf = name.rpartition(".")
        module = model.get_submodule(path)
        tensor = module._parameters.get(leaf)
        found[name] = module.get_buffer(leaf) if tensor is None else tensor
    return found


def copies_of(own: Tensors) -> Tensors:
    """What a new adapter begins with: copies of another one's tensors, counters at zero."""
    copies: Tensors = {}
    for name, tensor in own.items():
        if isinstance(tensor, nn.Parameter):
            copies[name] = nn.Parameter(tensor.detach().clone())
        else:
            counter = name.startswith(TRAINING_STATE)
            copies[name] = torch.zeros_like(tensor) if counter else tensor.clone()
    return copies


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
