"""Loading a backbone's pretrained weights, and refusing what does not fit."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.logging import print_log
from safetensors import SafetensorError
from safetensors.torch import load_file

from uniadapter.utils.foreign_file import left_out, load_foreign_file
from uniadapter.utils.safe_io import what_it_is

# Where other projects put a state dict, and what their wrappers put before its names.
_WRAPPERS = ("state_dict", "model", "model_state_dict", "net", "module")
_PREFIXES = ("module.", "_orig_mod.")
_UNREAD = "not read, it needs code of"
# Parts of another task or of training that a file may hold beside what a model wants.
_TRAINING = ("adapter.", "ema.", "queue.", "step")
_HEADS = ("vision_proj.", "text_proj.", "itm_head.", "temp", "logit_scale")
_PARTS = (*_TRAINING, "decoder.", "text.", *_HEADS)


class Content(NamedTuple):
    """What a checkpoint file holds.

    Attributes:
        state (dict[str, Tensor]): Tensors by name, on the CPU.
        meta (dict): What stands under ``meta`` beside them; empty where there is no such thing.
        left (dict[str, str]): What else the file holds by key, and what that is, for a report.
    """

    state: dict[str, torch.Tensor]
    meta: dict[str, Any]
    left: dict[str, str]


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
        what = what_it_is(path)
        if what is not None:
            raise ValueError(f"{path} {what}.") from error
        raise ValueError(f"{path} is damaged ({error}): copy or save it again.") from error


def read_content(path: str | Path) -> Content:
    """Read a safetensors file or a torch checkpoint of any project, never running pickled code.

    Tensors may stand under ``state_dict``, ``model``, ``model_state_dict``, ``net`` or ``module``,
    one in another. Prefixes that wrappers put before every name (``module.``, ``_orig_mod.``) are
    taken off. Objects that only their own code could build are left out, and a warning names them.

    Args:
        path (str | Path): The file.

    Returns:
        Content: Tensors and what stands beside them.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or holds no tensors; the error says what it holds.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(
            f"{path} is a folder: name the file of the weights in it. Folders of transformers are "
            "read by tools/model_converters/convert_checkpoint.py --from hf."
        )
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: put the weights there or set model.pretrained to their "
            "place. tools/model_converters/convert_checkpoint.py makes them from BLIP's."
        )
    if path.name.endswith(".json"):
        raise ValueError(f"{path} is a JSON file: name the weights, or their folder.")
    if path.suffix == ".safetensors":
        return Content(_without_prefix(read_safetensors(path)), {}, {})
    content = load_foreign_file(path)
    meta = content.get("meta") if isinstance(content, dict) else None
    left: dict[str, str] = {}
    state = _unwrap(path, content, left)
    unread = {key: words for key, words in left.items() if words.startswith(_UNREAD)}
    if unread:
        said = ", ".join(f"{key} ({words})" for key, words in unread.items())
        print_log(f"{path}: left out beside the weights: {said}.", "current", logging.WARNING)
    return Content(_without_prefix(state), meta if isinstance(meta, dict) else {}, left)


def read_state_dict(path: str | Path) -> dict[str, torch.Tensor]:
    """The tensors of :func:`read_content`."""
    return read_content(path).state


def _unwrap(path: Path, content: Any, left: dict[str, str]) -> dict[str, torch.Tensor]:
    """Find the state dict in what a file holds, and list what stands beside it."""
    if left_out(content) and not isinstance(content, dict):
        raise ValueError(
            f"{path} holds a whole object ({left_out(content)[0]}) rather than its weights: load "
            "it with the code that saved it, and save its state_dict()."
        )
    while isinstance(content, dict):
        inner = next((key for key in _WRAPPERS if isinstance(content.get(key), dict)), None)
        if inner is None:
            break
        left.update({str(key): _words(item) for key, item in content.items() if key != inner})
        content = content[inner]
    tensors: dict[str, torch.Tensor] = {}
    for key, item in content.items() if isinstance(content, dict) else ():
        if isinstance(key, str) and isinstance(item, torch.Tensor):
            tensors[key] = item
        else:
            left[str(key)] = _words(item)
    if not tensors:
        found = [f"{key!r} ({words})" for key, words in left.items()]
        raise ValueError(
            f"{path} holds no state dict, neither itself nor under {', '.join(_WRAPPERS)}, but a "
            f"{type(content).__name__}" + (f" with {', '.join(found[:5])}." if found else ".")
        )
    return tensors


def _words(value: Any) -> str:
    """What a value is, in a few words."""
    needed = left_out(value)
    if needed:
        return f"{_UNREAD} {', '.join(needed[:3])}"
    return type(value).__name__


def _without_prefix(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Take off what wrappers of a module put before every name."""
    for prefix in (*_PREFIXES, *_PREFIXES):
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


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
