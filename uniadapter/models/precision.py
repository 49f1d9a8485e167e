"""Frozen weights in half precision, for models that run under autocast anyway."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def _matrices(model: Any) -> list[nn.Module]:
    """Frozen linear and convolutional modules of the towers: what autocast would cast."""
    return [
        module
        for tower in model.towers().values()
        for module in tower.modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
        and not any(p.requires_grad for p in module.parameters(recurse=False))
    ]


def cast_frozen(model: Any, dtype: str) -> int:
    """Store the frozen matrices of the towers in half precision.

    Autocast rounds the same weights to the same type in every call and keeps that copy for the
    backward pass; results are those of autocast, bit for bit, without the copies. The
    fingerprint of the backbone is taken before. Norms, embeddings and whatever is trained stay as
    they are. From then on the model runs under autocast of this type by itself.

    Args:
        model (VisionLanguageModel): A model with its final weights: it refuses to load others.
        dtype (str): ``'bfloat16'`` or ``'float16'``.

    Returns:
        int: Number of weights that were cast.

    Raises:
        ValueError: If the type is unknown, or the model was cast to another one.
    """
    from .adapters.state import backbone_fingerprint

    if dtype not in DTYPES:
        raise ValueError(f"frozen dtype {dtype!r} is unknown: choose from {sorted(DTYPES)}.")
    if model.frozen_dtype is not None:
        if model.frozen_dtype != DTYPES[dtype]:
            raise ValueError(
                f"The frozen weights were cast to {model.frozen_dtype} already: build the model "
                f"anew to have them in {dtype}."
            )
        return 0
    modules = _matrices(model)
    if not modules:
        return 0
    model.frozen_fingerprint = backbone_fingerprint(model)
    count = 0
    for module in modules:
        for parameter in module.parameters(recurse=False):
            parameter.data = parameter.data.to(DTYPES[dtype])
            count += parameter.numel()
    model.frozen_dtype = DTYPES[dtype]
    model.register_load_state_dict_pre_hook(_refuse_frozen)
    return count


def _refuse_frozen(model: Any, state: dict[str, torch.Tensor], prefix: str, *_: Any) -> None:
    """Refuse weights that would be rounded when they are loaded."""
    own = dict(model.named_parameters())
    cast = [
        name
        for name, p in own.items()
        if not p.requires_grad and p.dtype == model.frozen_dtype and prefix + name in state
    ]
    if cast:
        raise ValueError(
            f"{cast[0]} and {len(cast) - 1} other frozen weights are stored in "
            f"{model.frozen_dtype}: load weights before they are cast (FrozenPrecisionHook)."
        )
