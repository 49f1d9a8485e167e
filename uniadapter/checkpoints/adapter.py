"""The folder of an adapter: saving what was trained, and loading it into the same model."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from safetensors.torch import save
from torch import nn

from uniadapter.utils.safe_folders import staged_folder
from uniadapter.utils.safe_io import atomic_write, to_plain

from .compare import Differences, compare
from .files import CONFIG_NAME, FORMAT_VERSION, WEIGHTS_NAME, Content, read_adapter
from .former_names import drop_idle_adapter, drop_obsolete, rename_state
from .state import backbone_fingerprint, check_fingerprint, heads_fingerprint, trained_state_dict


def _describe(model: Any) -> dict[str, Any]:
    """What the JSON beside an adapter says about the model it belongs to."""
    adapter = model.adapter
    return {
        "method": "none" if adapter is None else adapter.method,
        "options": {} if adapter is None else to_plain(adapter.options),
        "task": type(model).__name__,
        "towers": {
            name: {"parameters": sum(p.numel() for p in tower.parameters())}
            for name, tower in model.towers().items()
        },
    }


def save_adapter(
    model: nn.Module, folder: str | Path, values: Mapping[str, torch.Tensor] | None = None
) -> Path:
    """Write the trained tensors, statistics of batch norms among them, and a JSON about them.

    Args:
        model (VisionLanguageModel): The model.
        folder (str | Path): Directory for ``adapter_model.safetensors`` and
            ``adapter_config.json``; created if missing.
        values (Mapping, optional): Tensors by name to write in place of the model's own, such as
            their averages. Defaults to None.

    Returns:
        Path: The folder.

    Raises:
        ValueError: If the adapter is merged, so that its backbone is another one.
        WriteError: If the disk is full, read-only or the like; the folder is as it was before.
    """
    if getattr(model.adapter, "merged", False):
        raise ValueError("The adapter is merged into the backbone: unmerge() it before saving.")
    folder = Path(folder)
    state = trained_state_dict(model)
    state = {name: (values or state)[name].cpu().contiguous() for name in state}
    config = {
        "format_version": FORMAT_VERSION,
        **_describe(model),
        "backbone_sha256": backbone_fingerprint(model),
        "frozen_heads_sha256": heads_fingerprint(model),
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "extras": model.adapter_extras(),  # type: ignore[operator]
    }
    with staged_folder(folder, CONFIG_NAME) as inside:
        atomic_write(inside / WEIGHTS_NAME, save(state))
        atomic_write(inside / CONFIG_NAME, (json.dumps(config, indent=2) + "\n").encode())
    return folder


def _differences(config: dict[str, Any], model: Any, names: Iterable[str]) -> list[str]:
    """What the file says that the model does not, in words.

    An option that the file lacks, because it is newer than the file, had its default.
    """
    own = _describe(model)
    if config["method"] != own["method"]:
        return [f"method: file {config['method']!r}, model {own['method']!r}"]
    if model.adapter is None:
        return []
    defaults = model.adapter.defaults()
    names = {name.removeprefix("adapter.") for name in names if name.startswith("adapter.")}
    config = {**config, "options": model.adapter.translate(config["options"], names)}
    lines = []
    for key in sorted(set(config["options"]) | set(own["options"])):
        if key not in config["options"] and key not in defaults:
            lines.append(f"adapter.{key}: the file has none, model {own['options'][key]!r}")
            continue
        if key not in own["options"] and key not in defaults:
            value = config["options"][key]
            lines.append(f"adapter.{key}: file {value!r}, unknown to this {own['method']}")
            continue
        file, ours = (
            {**defaults, **options}[key] for options in (config["options"], own["options"])
        )
        if not _same_option(model.adapter, key, file, ours):
            lines.append(f"adapter.{key}: file {file!r}, model {ours!r}")
    return lines


def _same_option(adapter: Any, key: str, file: Any, ours: Any) -> bool:
    """Whether two values of an option make the same adapter."""
    try:
        return bool(adapter.normalise(key, file) == adapter.normalise(key, ours))
    except (TypeError, ValueError):
        # The file's value is none of the option's, such as layers that this model does not have.
        return False


def _check_frozen(folder: Path, config: dict[str, Any], model: nn.Module) -> None:
    """Refuse a model whose frozen weights are not those the adapter was trained on."""
    check_fingerprint(folder, config["backbone_sha256"], model)
    heads = heads_fingerprint(model)
    if heads is None:
        return
    if config.get("frozen_heads_sha256") is None:
        print_log(
            f"{folder} does not say on which frozen heads it was trained (train_heads=False): see "
            "that model.pretrained holds the heads it was trained with, or save the adapter again.",
            "current",
            logging.WARNING,
        )
    elif heads != config["frozen_heads_sha256"]:
        raise ValueError(
            f"{folder} was trained with frozen heads of other weights (sha256 "
            f"{config['frozen_heads_sha256'][:12]}..., here {heads[:12]}...): set model.pretrained "
            "to the weights it was trained from."
        )


def _drop_idle(folder: Path, content: Content) -> None:
    """Read a file whose adapter adds nothing as one of a model without an adapter, in place."""
    tensors = drop_idle_adapter(folder / WEIGHTS_NAME, content.tensors, content.meta["method"])
    if len(tensors) < len(content.tensors):
        content.meta["method"] = "none"
        for name in set(content.tensors) - set(tensors):
            del content.tensors[name]


def check_state(path: str | Path, state: dict[str, torch.Tensor], model: nn.Module) -> None:
    """Refuse trained tensors that do not fit the model's trained tensors exactly.

    Args:
        path (str | Path): Where the tensors come from, for the error.
        state (dict[str, Tensor]): Tensors by name.
        model (nn.Module): The model.

    Raises:
        ValueError: If no key matches, keys are missing or left over, or shapes differ.
    """
    remedy = "Build the model from the config that trained this file."
    compare(state, model, trained_state_dict(model)).raise_for(path, remedy)


def load_adapter(
    model: nn.Module,
    path: str | Path,
    check_backbone: bool = True,
    content: Content | None = None,
) -> Content:
    """Load an adapter that :func:`save_adapter` wrote.

    Args:
        model (VisionLanguageModel): A model of the same method, options and backbone weights.
        path (str | Path): The folder, or the safetensors file in it.
        check_backbone (bool): Compare the fingerprints of the backbone and of frozen heads.
            Defaults to True.
        content (Content, optional): The folder's content, where it was read already.

    Returns:
        Content: What was read, tensors by the names of this version.

    Raises:
        FileNotFoundError: If one of the two files is missing.
        ValueError: If method, options, backbone or tensors differ; the error says which.
    """
    folder = Path(path)
    if getattr(model.adapter, "merged", False):
        raise ValueError("The adapter is merged into the backbone: unmerge() it before loading.")
    folder = folder.parent if folder.suffix == ".safetensors" else folder
    content = read_adapter(folder) if content is None else content
    if model.adapter is None:
        _drop_idle(folder, content)
    options = _differences(content.meta, model, content.tensors)
    Differences(type(model).__name__, options=options).raise_for(
        folder, "Use the config that trained it, or set these keys with cfg_options."
    )
    rename_state(model, content.tensors)
    tensors = drop_obsolete(folder / WEIGHTS_NAME, content.tensors, model)
    check_state(folder / WEIGHTS_NAME, tensors, model)
    if check_backbone:
        _check_frozen(folder, content.meta, model)
    model.load_state_dict(tensors, strict=False)
    model.set_adapter_extras(content.meta.get("extras", {}))  # type: ignore[operator]
    return content
