"""Frozen weights in half precision, for models that run under autocast anyway."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from uniadapter.checkpoints.state import backbone_fingerprint

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def _matrices(model: Any) -> list[nn.Parameter]:
    """Frozen weights of linear and convolutional modules of the towers: what autocast would cast.

    Biases stay in float32: attention also reads some of them outside their module (an all-zero
    state projects to the bias, and frame weights and absorbed values add it to sums), where
    autocast does not round them. So does a matrix that a module of another kind uses as well.
    """
    found: dict[int, nn.Parameter] = {}
    others: set[int] = set()
    for tower in model.towers().values():
        for module in tower.modules():
            is_matrix = isinstance(module, nn.Linear | nn.Conv2d)
            for name, parameter in module.named_parameters(recurse=False):
                if not is_matrix or name != "weight":
                    others.add(id(parameter))
                elif not parameter.requires_grad:
                    found[id(parameter)] = parameter
    return [parameter for key, parameter in found.items() if key not in others]


def cast_frozen(model: Any, dtype: str) -> int:
    """Store the frozen matrices of the towers in half precision.

    Autocast rounds the same weights to the same type in every call and keeps that copy for the
    backward pass; results are those of autocast, bit for bit, without the copies. The
    fingerprint of the backbone is taken before. Biases, norms, embeddings and whatever is trained
    stay as they are. From then on the model runs under autocast of this type by itself.

    Args:
        model (VisionLanguageModel): A model with its final weights: it refuses to load others.
        dtype (str): ``'bfloat16'`` or ``'float16'``.

    Returns:
        int: Number of weights that were cast.

    Raises:
        ValueError: If the type is unknown, or the model was cast to another one.
    """
    if dtype not in DTYPES:
        raise ValueError(f"frozen dtype {dtype!r} is unknown: choose from {sorted(DTYPES)}.")
    if model.frozen_dtype is not None:
        if model.frozen_dtype != DTYPES[dtype]:
            raise ValueError(
                f"The frozen weights were cast to {model.frozen_dtype} already: build the model "
                f"anew to have them in {dtype}."
            )
        return 0
    matrices = _matrices(model)
    if not matrices:
        return 0
    model.frozen_fingerprint = backbone_fingerprint(model)
    for parameter in matrices:
        parameter.data = parameter.data.to(DTYPES[dtype])
    model.frozen_dtype = DTYPES[dtype]
    model.register_load_state_dict_pre_hook(_refuse_frozen)
    return sum(parameter.numel() for parameter in matrices)


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
