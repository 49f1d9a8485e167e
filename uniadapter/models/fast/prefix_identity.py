"""Where the frozen lower layers of a tower end, and what a frame goes through below that boundary.

Towers that can be run up to there are :class:`~uniadapter.models.backbones.base.Staged`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import chain
from types import CellType, FunctionType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from ..backbones.base import Staged
from ..linears import adapted

# What every module has; its parameters, buffers and children are looked at by themselves.
_INTERNAL = {*vars(nn.Module()), "_is_init", "init_cfg"}
# Packages whose modules differ between training and evaluation where they draw or count alone.
_KNOWN = ("torch", "mmcv", "mmengine", "mmpretrain", "peft", "uniadapter")


def draws(module: nn.Module) -> bool:
    """Whether a module, by itself, gives another output in every run or for another batch."""
    if not module.training:
        return False
    if isinstance(module, _DropoutNd):
        return module.p > 0
    rates = (getattr(module, name, None) for name in ("drop_prob", "attn_drop"))
    return isinstance(module, _BatchNorm) or any(isinstance(r, float) and r > 0 for r in rates)


def embedding_fixed(tower: Staged) -> bool:
    """Whether nothing before the first layer is trained or draws."""
    return all(map(_fixed, tower.below(0).values()))


def layer_fixed(layer: nn.Module) -> bool:
    """Whether a layer, but for its sites, gives the same in two runs of one step."""
    return _fixed(layer)


def _fixed(part: torch.Tensor | nn.Module) -> bool:
    if isinstance(part, torch.Tensor):
        return not part.requires_grad
    # Stochastic depth and dropout (a frozen LoRA's) are another draw in every run.
    drawn = any(map(draws, part.modules()))
    trained = any(p.requires_grad for p in part.parameters()) or adapted(part)
    return not drawn and not trained


def frozen_layers(tower: Any) -> int:
    """Leading layers, counted with the embedding, without a trained weight or a filled site.

    Raises:
        ValueError: If the tower can't be run in parts.
    """
    if not isinstance(tower, Staged):
        raise ValueError(
            f"model.prefix_cache keeps what a BlipViT computes; {type(tower).__name__} has nothing "
            "to keep: remove it."
        )
    if not embedding_fixed(tower):
        return 0
    for index, layer in enumerate(tower.layers):
        if layer.at.filled() or not layer_fixed(layer):
            return index
    return tower.num_layers


@torch.no_grad()
def frozen_tokens(tower: Staged, images: torch.Tensor, layers: int) -> torch.Tensor:
    """Tokens (B, M, D) of images (B, 3, H, W) after the first ``layers``, without a graph."""
    x = tower.embed(images)
    for index in range(layers):
        x = tower.layers[index](x)
    return x


@torch.no_grad()
def frozen_states(tower: Staged, images: torch.Tensor, layers: int) -> torch.Tensor:
    """What goes into the first layer and what comes out of each, (B, layers + 1, M, D)."""
    states = [tower.embed(images)]
    for index in range(layers):
        states.append(tower.layers[index](states[-1]))
    return torch.stack(states, 1)


def plan(visual: Any, layers: int) -> str:
    """What is computed below the boundary, apart from the tensors' content.

    Types, attributes and hooks of all modules: a replaced module, a LoRA that is switched off or a
    changed epsilon is another plan. It is the same in another process.

    Args:
        visual (Staged): The tower.
        layers (int): Layers below the boundary.

    Returns:
        str: A line a module.
    """
    patched = {name: value for name, value in vars(visual).items() if callable(value)}
    own = (visual.interpolate_mode, visual.patch_resolution, patched)
    lines = [f"{_type_name(visual)} {_describe(own)}"]
    for prefix, part in _parts(visual, layers).items():
        lines += [f"{prefix}.{name} {_state(module)}" for name, module in part.named_modules()]
    return "\n".join(lines)


def tensors(visual: Staged, layers: int) -> Iterator[tuple[str, torch.Tensor]]:
    """All tensors below the boundary, by name."""
    for name, part in visual.below(0).items():
        if isinstance(part, torch.Tensor):
            yield name, part
    for prefix, part in _parts(visual, layers).items():
        for name, tensor in chain(part.named_parameters(), part.named_buffers()):
            yield f"{prefix}.{name}", tensor
        for name, module in part.named_modules():
            for key, value in _attributes(module).items():
                for index, tensor in enumerate(_loose(value)):
                    yield f"{prefix}.{name}.{key}[{index}]", tensor


def _parts(visual: Staged, layers: int) -> dict[str, nn.Module]:
    return {name: p for name, p in visual.below(layers).items() if isinstance(p, nn.Module)}


def _attributes(module: nn.Module) -> dict[str, Any]:
    return {key: value for key, value in vars(module).items() if key not in _INTERNAL}


def _state(module: nn.Module) -> str:
    """Type, attributes and hooks of one module."""
    if isinstance(module, _DropoutNd) or set(_attributes(module)) == {"drop_prob"}:
        # Where it draws nothing is kept: an identity, whatever its rate.
        return _type_name(module)
    hooks = [*module._forward_pre_hooks.values(), *module._forward_hooks.values()]
    known = type(module).__module__.split(".")[0] in _KNOWN
    mode = "" if known else f" training={module.training}"
    return f"{_type_name(module)}{mode} {_describe(_attributes(module))} {_describe(hooks)}"


def _type_name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _describe(value: Any, depth: int = 8) -> str:
    """A value in words that are the same in every process; of an unknown object its type alone."""
    inner = partial(_describe, depth=depth - 1)
    if depth == 0:
        return _type_name(value)
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str | torch.dtype | torch.device):
        return repr(value)
    if isinstance(value, dict):
        items = sorted((inner(key), inner(item)) for key, item in value.items())
        return "{" + ", ".join(f"{key}: {item}" for key, item in items) + "}"
    if isinstance(value, set | frozenset):
        return "{" + ", ".join(sorted(map(inner, value))) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(inner, value)) + "]"
    if isinstance(value, partial):
        return f"partial{inner([value.func, value.args, value.keywords])}"
    if isinstance(value, FunctionType):
        # What it was made with tells apart functions that were written once.
        cells = [c.cell_contents for c in value.__closure__ or () if c != CellType()]
        code = value.__code__
        made = [code.co_code.hex(), code.co_names, code.co_consts, value.__defaults__, cells]
        return f"{value.__module__}.{value.__qualname__}{inner(made)}"
    if hasattr(value, "__qualname__"):
        return f"{getattr(value, '__module__', None)}.{value.__qualname__}"
    return _type_name(value)


def _loose(value: Any) -> Iterator[torch.Tensor]:
    """Tensors that a module holds as a plain attribute."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _loose(item)
