"""The weight files of a transformers folder: one file, a variant, or shards with an index."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from uniadapter.utils.json_files import parse_json

from ..files import read_state_dict
from .keys import State

# In transformers' own order.
_STANDARD = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_SHARD = re.compile(r".+-\d{5}-of-\d{5}\.(?:safetensors|bin)")
_VARIANT = re.compile(
    r"(?:model|pytorch_model)\.[\w-]+\.(?:safetensors|bin)"
    r"|(?:model\.safetensors|pytorch_model\.bin)\.index\.[\w-]+\.json"
)
_SHOWN = 3


def find_weights(folder: Path) -> tuple[Path, list[str]]:
    """Choose the weights of a transformers folder.

    Args:
        folder (Path): The folder.

    Returns:
        tuple: The file of the weights or the index of their shards, and notes for the user.

    Raises:
        FileNotFoundError: If there are none.
        ValueError: If there are variants alone, and more than one.
    """
    for name in _STANDARD:
        if (folder / name).is_file():
            return folder / name, []
    names = sorted(path.name for path in folder.iterdir())
    variants = [n for n in names if _VARIANT.fullmatch(n) and not _SHARD.fullmatch(n)]
    if len(variants) == 1:
        return folder / variants[0], [f"the weights are those of the variant {variants[0]}"]
    if variants:
        raise ValueError(
            f"{folder} holds the weights in several variants, {variants}: name one of these files "
            "instead of the folder."
        )
    shards = [name for name in names if _SHARD.fullmatch(name)]
    if shards:
        raise FileNotFoundError(
            f"{folder} holds {len(shards)} shards, such as {shards[0]}, and no index of them: copy "
            "model.safetensors.index.json (pytorch_model.bin.index.json) too."
        )
    raise FileNotFoundError(
        f"{folder / 'model.safetensors'} does not exist, nor another file of PyTorch's weights "
        f"({', '.join(_STANDARD[1:])}); the folder holds {names[:8]}. Copy the weights into it."
    )


def read_weights(path: Path) -> State:
    """Read a file of weights, or all shards of an index.

    Args:
        path (Path): The file or the index.

    Returns:
        dict[str, Tensor]: Tensors by name.

    Raises:
        FileNotFoundError: If a shard is missing.
        ValueError: If a file is damaged, or index and shards contradict one another.
    """
    if ".index." not in path.name or path.suffix != ".json":
        return read_state_dict(path)
    shard_of = _read_index(path)
    names = sorted(set(shard_of.values()))
    missing = [name for name in names if not (path.parent / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{path} names {len(names)} shards, {_some(missing)} of which do not exist in "
            f"{path.parent}: copy the whole folder."
        )
    state: State = {}
    for name in names:
        part = read_state_dict(path.parent / name)
        wanted = {key for key, shard in shard_of.items() if shard == name}
        for said, keys in (
            ("lacks", wanted - set(part)),
            (f"holds, against {path.name},", set(part) - wanted),
        ):
            if keys:
                raise ValueError(
                    f"{path.parent / name} {said} {_some(keys)}: index and shards are not of one "
                    "model, copy the whole folder again."
                )
        state.update(part)
    return state


def _read_index(path: Path) -> dict[str, str]:
    """Shard by name of tensor, every shard a plain file name."""
    try:
        content = parse_json(path.read_bytes(), object_pairs_hook=_no_repeats)
    except ValueError as error:
        raise ValueError(f"{path} is no valid index ({error}): copy the folder again.") from error
    shard_of = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(shard_of, dict) or not shard_of:
        raise ValueError(f"{path} has no weight_map (tensor to file): it is no index of shards.")
    for key, name in shard_of.items():
        plain = isinstance(name, str) and re.fullmatch(r"[\w.-]+\.(?:safetensors|bin)", name)
        if not plain:
            raise ValueError(
                f"{path} has {key} in {name!r}, which is not the name of a .safetensors or .bin "
                "file beside the index: the index is not transformers' own."
            )
    return shard_of


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(
            f"{_some({key for key in keys if keys.count(key) > 1})} stands there twice"
        )
    return found


def _some(names: Iterable[str]) -> str:
    names = sorted(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
