"""Files of earlier versions: some tensors had other names, and some were of no use.

The names are compared before anything is loaded (an adapter's file, a checkpoint that is resumed,
an optimizer's states), so each of these readers translates what it read first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import nn

from uniadapter.registry import MODELS

# What a wrapper or EMAHook puts before the names of a model.
_BEFORE = ("", "module.")


def former_names(model: nn.Module) -> dict[str, str]:
    """Names in the model's state dict by what files of earlier versions call them.

    Args:
        model (nn.Module): Any model; that of its adapters is asked.

    Returns:
        dict[str, str]: Parameters and their momentum averages; empty where no name changed.
    """
    found: dict[str, str] = {}
    asked: tuple[str, ...] = ()
    for path, module in model.named_modules():
        place = f"{path}." if path else ""
        # An adapter speaks for what lies in it.
        if not hasattr(module, "former_names") or place.startswith(asked):
            continue
        asked += (place,)
        for former, name in module.former_names().items():
            found[place + former] = place + name
            average, now = (f"ema.{(place + n).replace('.', '/')}" for n in (former, name))
            found[average] = now
    return {head + former: head + name for former, name in found.items() for head in _BEFORE}


def rename_state(model: nn.Module, state: MutableMapping[str, Any], prefix: str = "") -> None:
    """Give the tensors of an earlier version's file the names of this one, in place.

    Their order is kept: that of an optimizer may follow from it.

    Args:
        model (nn.Module): The model that the file is for.
        state (MutableMapping): Tensors by name.
        prefix (str): What stands before the model's names in ``state``. Defaults to nothing.
    """
    names = {prefix + former: prefix + name for former, name in former_names(model).items()}
    # A file that has both names is damaged, and the old one stays to be refused by name.
    if not any(former in state and name not in state for former, name in names.items()):
        return
    items = [(_now(name, names, state), tensor) for name, tensor in state.items()]
    state.clear()
    state.update(items)


def rename_checkpoint(model: nn.Module, checkpoint: dict[str, Any]) -> None:
    """Rename what a training checkpoint holds by name, in place; see :func:`rename_state`.

    Args:
        model (nn.Module): The model that the file is for.
        checkpoint (dict): Its content.
    """
    # A file of weights may be the state dict itself.
    rename_state(model, checkpoint.get("state_dict", checkpoint))
    rename_state(model, checkpoint.get("ema_state_dict", {}))
    names = former_names(model)
    if names and "optimizer_names" in checkpoint:
        checkpoint["optimizer_names"] = _renamed(checkpoint["optimizer_names"], names)


def drop_obsolete(
    path: str | Path, state: Mapping[str, torch.Tensor], model: nn.Module
) -> dict[str, torch.Tensor]:
    """Leave out tensors that an earlier version saved although nothing ever read them.

    Args:
        path (str | Path): Where the tensors come from, for the log.
        state (dict[str, Tensor]): Tensors by name, of trained parameters or of a whole model.
        model (nn.Module): The model.

    Returns:
        dict[str, Tensor]: The others, in order.
    """
    adapter = getattr(model, "adapter", None)
    if adapter is None:
        return dict(state)
    own = set(model.state_dict())
    # Averages have the names of their parameters, with slashes.
    short = {
        name: re.sub(r"^(module\.)?(ema\.)?adapter[./]", "", name).replace("/", ".")
        for name in state
        if re.match(r"(module\.)?(ema\.adapter/|adapter\.)", name)
        and name.removeprefix("module.") not in own
    }
    tensors: dict[str, torch.Tensor] = {}
    for name in short:
        # An average is none of a start at zero where the parameter is not.
        tensors.setdefault(short[name], state[name])
    found = adapter.obsolete(tensors)
    gone = [name for name in short if short[name] in found]
    if gone:
        print_log(
            f"{path}: left out {len(gone)} tensors of modules that nothing ever ran, such as "
            f"{gone[:3]}.",
            "current",
        )
    return {name: tensor for name, tensor in state.items() if name not in set(gone)}


def drop_idle_adapter(
    path: str | Path, state: Mapping[str, torch.Tensor], method: str
) -> dict[str, torch.Tensor]:
    """Leave out an adapter that an earlier version saved although nothing ever ran it.

    Args:
        path (str | Path): Where the tensors come from, for the log.
        state (Mapping[str, Tensor]): Trained tensors by name.
        method (str): Name of the adapter's class.

    Returns:
        dict[str, Tensor]: The others, in order; all of them where the adapter does something.
    """
    kind: Any = MODELS.get(method) if method else None
    tensors = {n.removeprefix("adapter."): t for n, t in state.items() if n.startswith("adapter.")}
    if not tensors or not hasattr(kind, "adds_nothing") or not kind.adds_nothing(tensors):
        return dict(state)
    print_log(
        f"{path}: left out an adapter of {len(tensors)} tensors that adds nothing.", "current"
    )
    return {name: tensor for name, tensor in state.items() if not name.startswith("adapter.")}


def _now(name: str, names: dict[str, str], state: MutableMapping[str, Any]) -> str:
    now = names.get(name, name)
    return name if now in state else now


def _renamed(value: Any, names: dict[str, str]) -> Any:
    """Names in the lists of one optimizer, or of several by name."""
    if isinstance(value, dict):
        return {key: _renamed(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    return names.get(value, value)
