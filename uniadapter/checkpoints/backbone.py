"""Loading a backbone's weights, and refusing what does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log

from .compare import compare, parts_beside
from .files import read
from .layouts import convert_with
from .state import drawn_names, part_names, scalar_names

_REMEDY = "It is no complete backbone for this config: {}, or correct the model's options."


def load_pretrained(model: Any, path: str | Path) -> None:
    """Load towers and heads; adapter, momentum and queue of the model stay as they are.

    Args:
        model (VisionLanguageModel): The model.
        path (str | Path): A file in this package's names.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a tensor of a tower or head is missing, has another shape, or the file
            holds tensors that no part of the package knows.
    """
    load_backbone(model, path, read(path).tensors)


def load_backbone(model: Any, path: str | Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """The same with tensors that were read already.

    Args:
        model (VisionLanguageModel): The model.
        path (str | Path): Where they come from, for the error and the log.
        tensors (Mapping[str, Tensor]): Tensors by name.
    """
    heads = set(model.heads())
    # A head that is drawn anew counts where the file has a part of it.
    heads -= {head for head in model.new_heads() if not _has(tensors, head)}
    required = part_names(model, (*model.towers(), *heads))
    required -= drawn_names(model) - set(tensors)
    # A temperature is no part of every backbone file (transformers' BLIP has none).
    scalars = scalar_names(model)
    # An adapter of the model stays as it is.
    beside = parts_beside(model, "adapter")
    differences = compare(tensors, model, required, scalars, beside=beside)
    if differences:
        differences.raise_for(path, _REMEDY.format(convert_with(tensors)))
    chosen = {n: tensor for n, tensor in tensors.items() if n in required or n in scalars}
    # The visual tower interpolates position embeddings of another image size while loading.
    model.load_state_dict(chosen, strict=False)
    new = sorted(set(model.heads()) - heads)
    if new:
        print_log(f"{path} has no {', '.join(new)}: they begin at random.", "current")
    left = sorted({name.split(".")[0] for name in tensors if name not in chosen})
    print_log(f"Loaded {len(chosen)} tensors of {path}" + (f", left {left}." if left else "."))


def _has(tensors: Mapping[str, Any], part: str) -> bool:
    return any(name.startswith(f"{part}.") for name in tensors)
