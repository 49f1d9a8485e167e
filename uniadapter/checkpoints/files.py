"""Reading and writing files of weights: one reader for all kinds, which never runs pickled code."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from mmengine.logging import print_log
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from uniadapter.utils.json_files import brief, parse_json
from uniadapter.utils.leftovers import at_work, sweep, temporary_path
from uniadapter.utils.paths import find_file
from uniadapter.utils.safe_io import what_it_is, writing
from uniadapter.utils.tensors import why_unread

from .foreign_file import left_out, load_foreign_file

CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"
FORMAT_VERSION = 1
#: What the JSON beside an adapter's weights may say, and what kinds of values that has. Below
#: ``extras`` stands what builds the model from the folder alone, see
#: :mod:`uniadapter.checkpoints.shared`.
CONFIG_KEYS: dict[str, tuple[type, ...]] = {
    "format_version": (int,),
    "method": (str,),
    "options": (dict,),
    "task": (str,),
    "towers": (dict,),
    "backbone_sha256": (str, type(None)),
    "frozen_heads_sha256": (str, type(None)),
    "parameters": (int,),
    "extras": (dict,),
    "uniadapter_version": (str,),
    "backbone": (dict, type(None)),
    "model": (dict,),
    "tokenizer": (dict, type(None)),
    "image_size": (int, type(None)),
    "mean": (list, type(None)),
    "std": (list, type(None)),
    "text_length": (int, type(None)),
    "pipeline": (list, type(None)),
    "files": (dict,),
}
_KINDS = {
    **{int: "an integer", str: "a string", dict: "an object", list: "a list"},
    type(None): "null",
}

# What walks a config calls itself on every level, and no config has as many.
_DEEPEST = 64

# How often an adapter is read that is being saved, and the seconds in between.
_TRIES, _PAUSE = 10, 0.05

# Where other projects put a state dict, and what their wrappers put before its names.
_WRAPPERS = ("state_dict", "model", "model_state_dict", "net", "module")
_PREFIXES = ("module.", "_orig_mod.")
_UNREAD = "not read"


class Content(NamedTuple):
    """What a checkpoint holds.

    Attributes:
        kind (str): ``'adapter'`` (a folder), ``'training'`` (what a run saved) or ``'weights'``.
        tensors (dict[str, Tensor]): Tensors by name, on the CPU.
        meta (dict): What stands under ``meta`` beside them, of an adapter its JSON; empty where
            there is no such thing.
        left (dict[str, str]): What else the file holds by key, and what that is, for a report.
    """

    kind: Literal["adapter", "training", "weights"]
    tensors: dict[str, torch.Tensor]
    meta: dict[str, Any]
    left: dict[str, str]


def is_adapter(path: Path) -> bool:
    """Whether a path is the folder of an adapter, or the weights in it."""
    if path.is_dir():
        return any((path / name).is_file() for name in (CONFIG_NAME, WEIGHTS_NAME))
    # A backbone may lie beside them.
    return path.name == WEIGHTS_NAME and (path.parent / CONFIG_NAME).is_file()


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


def read(path: str | Path) -> Content:
    """Read an adapter, a safetensors file or a torch checkpoint of any project.

    Tensors may stand under ``state_dict``, ``model``, ``model_state_dict``, ``net`` or ``module``,
    one in another. Prefixes that wrappers put before every name (``module.``, ``_orig_mod.``) are
    taken off. Objects that only their own code could build are left out, and a warning names them.

    Args:
        path (str | Path): The file, or the folder of an adapter.

    Returns:
        Content: Tensors and what stands beside them.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or holds no tensors; the error says what it holds.
    """
    path = find_file(path)
    if is_adapter(path):
        return read_adapter(path if path.is_dir() else path.parent)
    if path.is_dir():
        if any(path.glob(".*.tmp")):
            raise ValueError(
                f"{path} holds what a save began that was killed, or has not ended: save or copy "
                "the adapter again."
            )
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
        return Content("weights", _without_prefix(read_safetensors(path)), {}, {})
    content = load_foreign_file(path)
    meta = content.get("meta") if isinstance(content, dict) else None
    left: dict[str, str] = {}
    state = _unwrap(path, content, left)
    unread = {key: words for key, words in left.items() if words.startswith(_UNREAD)}
    if unread:
        said = ", ".join(f"{key} ({words})" for key, words in unread.items())
        print_log(f"{path}: left out beside the weights: {said}.", "current", logging.WARNING)
    own = isinstance(meta, dict) and "state_dict" in content
    return Content(
        "training" if own else "weights",
        _without_prefix(state),
        meta if isinstance(meta, dict) else {},
        left,
    )


def read_state_dict(path: str | Path) -> dict[str, torch.Tensor]:
    """The tensors of :func:`read`."""
    return read(path).tensors


def _unwrap(path: Path, content: Any, left: dict[str, str]) -> dict[str, torch.Tensor]:
    """Find the state dict in what a file holds, and list what stands beside it."""
    if left_out(content) and not isinstance(content, dict):
        raise ValueError(
            f"{path} holds a whole object ({left_out(content)[0]}) rather than its weights: load "
            "it with the code that saved it, and save its state_dict()."
        )
    around: list[Any] = []
    while isinstance(content, dict):
        inner = next((key for key in _WRAPPERS if isinstance(content.get(key), dict)), None)
        if inner is None:
            break
        if any(content is outer for outer in around):
            raise ValueError(f"{path} is damaged ({inner!r} holds itself): copy or save it again.")
        around.append(content)
        left.update({str(key): _words(item) for key, item in content.items() if key != inner})
        content = content[inner]
    tensors: dict[str, torch.Tensor] = {}
    for key, item in content.items() if isinstance(content, dict) else ():
        if isinstance(key, str) and isinstance(item, torch.Tensor) and why_unread(item) is None:
            tensors[key] = item
        else:
            left[str(key)] = _words(item)
    if not tensors:
        found = [f"{brief(key)} ({words})" for key, words in left.items()]
        raise ValueError(
            f"{path} holds no state dict, neither itself nor under {', '.join(_WRAPPERS)}, but a "
            f"{type(content).__name__}" + (f" with {', '.join(found[:5])}." if found else ".")
        )
    return tensors


def _words(value: Any) -> str:
    """What a value is, in a few words."""
    needed = left_out(value)
    if needed:
        return f"{_UNREAD}, it needs code of {', '.join(needed[:3])}"
    odd = why_unread(value)
    return type(value).__name__ if odd is None else f"{_UNREAD}, it is {odd}"


def _without_prefix(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Take off what wrappers of a module put before every name."""
    for prefix in (*_PREFIXES, *_PREFIXES):
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def read_adapter(folder: Path) -> Content:
    """Read the folder of an adapter, which another process may be saving at the same moment.

    Args:
        folder (Path): With the weights and the JSON beside them.

    Returns:
        Content: Tensors, and the JSON as ``meta``, both of one save.

    Raises:
        FileNotFoundError: If one of the two files is missing.
        ValueError: If one is damaged, or written by another version; or if the folder is saved
            again and again.
    """
    path = folder / CONFIG_NAME
    for _ in range(_TRIES):
        before = _content(path)
        try:
            content = _read_both(folder)
        except (FileNotFoundError, ValueError):
            if _content(path) == before and not (before is None and at_work(folder)):
                raise
        else:
            # It goes before the weights change, and one that says the same goes with them.
            if _content(path) == before:
                return content
        time.sleep(_PAUSE)
    if before is None:
        _read_adapter_config(path)
    raise ValueError(f"{folder} is being saved all the time: load it when that has ended.")


def _read_both(folder: Path) -> Content:
    config, weights = _read_adapter_config(folder / CONFIG_NAME), folder / WEIGHTS_NAME
    if not weights.is_file():
        raise FileNotFoundError(f"{weights} is missing beside {CONFIG_NAME}: copy both files.")
    return Content("adapter", read_safetensors(weights), config, {})


def _content(path: Path) -> bytes | None:
    """What is in a file; its number is no sign of it, which some disks of networks give anew."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def _read_adapter_config(path: Path) -> dict[str, Any]:
    """Read the JSON beside an adapter's weights."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: an adapter is the folder with {CONFIG_NAME} and {WEIGHTS_NAME}. "
            "A save that was killed leaves it so: save or copy the adapter again."
        )
    config = read_json(path, "save the adapter again")
    for key in ("format_version", "method", "options", "backbone_sha256"):
        if key not in config:
            raise ValueError(f"{path} lacks the key {key!r}: it was not written by save_adapter.")
    if config["format_version"] != FORMAT_VERSION:
        raise ValueError(
            f"{path} has format_version={config['format_version']}, this version of uniadapter "
            f"reads {FORMAT_VERSION}: install the version that wrote it."
        )
    for key, kinds in CONFIG_KEYS.items():
        if key in config and not isinstance(config[key], kinds):
            names = " or ".join(_KINDS[kind] for kind in kinds)
            raise ValueError(
                f"{path}: {key} must be {names}, not {config[key]!r:.60}: it was edited, copy or "
                "save the adapter again."
            )
    return config


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Read a JSON file that holds one object, with strict numbers and every key once.

    Args:
        path (Path): The file.
        remedy (str): What to do about a damaged one.

    Raises:
        ValueError: If it is no such file.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"the key {twice!r} stands there twice")
        return found

    def refuse(word: str) -> Any:
        raise ValueError(f"{word} is no number of JSON")

    try:
        content = parse_json(path.read_bytes(), object_pairs_hook=once, parse_constant=refuse)
        if _deeper(content, _DEEPEST):
            raise ValueError("it is nested too deeply")
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}): {remedy}.") from error
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise ValueError(f"{path} must hold one JSON object, not a {kind}: {remedy}.")
    return content


def _deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects stand in each other on more than so many levels."""
    held = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(held, list):
        return False
    return not levels or any(_deeper(item, levels - 1) for item in held)


def _own_memory(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Give every tensor memory of its own, as safetensors wants; tied ones are copied."""
    seen: set[int] = set()
    separate = {}
    for name, tensor in state.items():
        storage = tensor.untyped_storage()
        whole = storage.nbytes() == tensor.numel() * tensor.element_size()
        fresh = whole and tensor.is_contiguous() and storage.data_ptr() not in seen
        separate[name] = tensor if fresh else tensor.clone(memory_format=torch.contiguous_format)
        seen.add(storage.data_ptr())
    return separate


def write(
    path: str | Path,
    state: Any,
    under: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a file of weights, whole or not at all.

    Args:
        path (str | Path): Where; the folder is made.
        state (dict[str, Tensor]): Tensors by name; of ``torch.save`` a list of such as well.
        under (str, optional): Write a file of ``torch.save`` with the tensors under this key, or,
            for ``''``, under none. None writes safetensors.
        metadata (Mapping, optional): Strings to keep in the head of a safetensors file.

    Raises:
        WriteError: If the disk is full, read-only or the like; the file is as it was before.
    """
    path = Path(path)
    with writing(path):
        _write(path, state, under, metadata)


def _write(path: Path, state: Any, under: str | None, metadata: Mapping[str, str] | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    # Two processes may write the file at the same time; the last whole one stays.
    temporary = temporary_path(path)
    try:
        # The system says why it can't be made, torch does not.
        temporary.touch()
        if under is not None:
            torch.save({under: state} if under else state, temporary)
        else:
            # safetensors makes files that only their owner can read, whatever the umask says.
            mode = temporary.stat().st_mode
            save_file(_own_memory(state), temporary, metadata={"format": "pt", **(metadata or {})})
            temporary.chmod(mode)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
