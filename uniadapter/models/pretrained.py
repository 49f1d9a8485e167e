"""Loading a backbone's pretrained weights, and refusing what does not fit."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from safetensors import SafetensorError
from safetensors.torch import load_file

from uniadapter.utils.safe_io import load_torch_file

# Parts of another task or of training that a file may hold beside what a model wants.
_TRAINING = ("adapter.", "ema.", "queue.", "step")
_PARTS = (*_TRAINING, "decoder.", "text.", "vision_proj.", "text_proj.", "itm_head.", "temp")


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file.

    Args:
        path (Path): The file.

    Returns:
        dict[str, Tensor]: Tensors by name, on the CPU.

    Raises:
        ValueError: If it is damaged.
    """
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}): copy or save it again.") from error


def read_state_dict(path: str | Path) -> dict[str, torch.Tensor]:
    """Read tensors from a safetensors file or a checkpoint, never running pickled code.

    Args:
        path (str | Path): ``.safetensors``, or a torch checkpoint that is a state dict or holds
            one under ``state_dict`` or ``model``.

    Returns:
        dict[str, Tensor]: Tensors by name, on the CPU.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or needs pickled code.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: put the weights there or set model.pretrained to their "
            "place. tools/model_converters/convert_checkpoint.py makes them from BLIP's."
        )
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    content: Any = load_torch_file(path)
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(
        isinstance(value, torch.Tensor) for value in content.values()
    ):
        raise ValueError(f"{path} holds no state dict (neither itself nor under 'state_dict').")
    return content


def unknown_names(state: Iterable[str], known: Collection[str]) -> list[str]:
    """Names that are neither ``known`` nor any part this package writes, sorted."""
    return sorted(name for name in state if name not in known and not name.startswith(_PARTS))


def has_place(name: str, shape: torch.Size, own: torch.Size) -> bool:
    """Whether a tensor can be loaded under a name of the model.

    Args:
        name (str): The name.
        shape (torch.Size): Shape of the tensor.
        own (torch.Size): Shape of the model's.

    Returns:
        bool: True for equal shapes, and for position embeddings of any square of patches and one
        class token: the visual tower interpolates them while loading.
    """
    if shape == own or not name.endswith("pos_embed"):
        return shape == own
    square = len(shape) == 3 and math.isqrt(max(shape[1] - 1, 0)) ** 2 == shape[1] - 1 > 0
    return square and (shape[0], shape[2]) == (own[0], own[2])


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
    state = read_state_dict(path)
    own = model.state_dict()
    wanted_prefixes = tuple(f"{name}." for name in (*model.towers(), *model.heads()))
    wanted = {name for name in own if name.startswith(wanted_prefixes)}
    missing = sorted(wanted - set(state))
    # A temperature is no part of every backbone file (transformers' BLIP has none).
    scalars = {id(parameter) for parameter in model.scalars().values()}
    wanted |= {name for name, parameter in model.named_parameters() if id(parameter) in scalars}
    unknown = unknown_names(state, wanted)
    if missing or unknown:
        raise ValueError(
            f"{path} is no complete backbone for {type(model).__name__}: "
            f"{len(missing)} tensors are missing (such as {missing[:3]}), {len(unknown)} are "
            f"unknown (such as {unknown[:3]}). Convert other layouts with "
            "tools/model_converters/convert_checkpoint.py."
        )
    chosen = {name: tensor for name, tensor in state.items() if name in wanted}
    shapes = [
        f"{name}: file {tuple(tensor.shape)}, model {tuple(own[name].shape)}"
        for name, tensor in chosen.items()
        if not has_place(name, tensor.shape, own[name].shape)
    ]
    if shapes:
        raise ValueError(
            f"{path} has other shapes than the model's config: {'; '.join(shapes[:5])}."
        )
    # The visual tower interpolates position embeddings of another image size while loading.
    model.load_state_dict(chosen, strict=False)
    left = sorted({name.split(".")[0] for name in state if name not in wanted})
    print_log(f"Loaded {len(chosen)} tensors of {path}" + (f", left {left}." if left else "."))
