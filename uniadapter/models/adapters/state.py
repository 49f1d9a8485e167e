"""Trained state: what is frozen, counted, saved and loaded. All by identity, never by name."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from safetensors.torch import save
from torch import nn

from uniadapter.utils.safe_io import atomic_write, to_plain

from ..fingerprint import digest_frozen
from ..former_names import rename_state
from ..pretrained import has_place, read_safetensors

CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"
FORMAT_VERSION = 1


def set_trainable(model: nn.Module, trainable: Iterable[nn.Parameter]) -> None:
    """Train exactly the given parameters and freeze all others.

    Args:
        model (nn.Module): The model.
        trainable (Iterable[nn.Parameter]): Parameters of the model, recognised by identity.

    Raises:
        ValueError: If one of them is not a parameter of the model.
    """
    chosen = {id(parameter) for parameter in trainable}
    known = {id(parameter) for parameter in model.parameters()}
    if chosen - known:
        raise ValueError(f"{len(chosen - known)} trainable parameters do not belong to the model.")
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in chosen)


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Count parameters by component, each tensor once.

    Args:
        model (VisionLanguageModel): The model; it may be on the meta device.

    Returns:
        dict[str, int]: One entry a component (``backbone``, ``adapter``, ``heads`` ...), then
        ``trainable`` and ``total``.
    """
    counts = {"adapter": 0}
    for name, parameters in model.components().items():  # type: ignore[operator]
        unique = {id(p): p for p in parameters}
        counts[name] = sum(p.numel() for p in unique.values())
    counts["trainable"] = sum(p.numel() for p in model.parameters() if p.requires_grad)
    counts["total"] = sum(p.numel() for p in model.parameters())
    return counts


def trained_state_dict(model: nn.Module) -> dict[str, torch.Tensor]:
    """The trained tensors by their canonical name, tied ones once, detached."""
    return {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}


def backbone_fingerprint(model: nn.Module) -> str:
    """SHA-256 over the towers' tensors, independent of device and of the image size.

    Position embeddings of the visual tower are left out: they are interpolated to the image size.
    So is what is trained of the towers (a language-model head): training must not change it.

    Args:
        model (VisionLanguageModel): The model.

    Returns:
        str: Hexadecimal digest; that of the weights before :func:`cast_frozen` rounded them.
    """
    if getattr(model, "frozen_fingerprint", None):
        return str(model.frozen_fingerprint)
    return digest_frozen(model.towers())  # type: ignore[operator]


def heads_fingerprint(model: nn.Module) -> str | None:
    """SHA-256 over the tensors of frozen heads, which an adapter's file does not hold.

    Args:
        model (VisionLanguageModel): The model.

    Returns:
        str: Hexadecimal digest; None if the model trains its heads or has none.
    """
    heads: dict[str, nn.Module] = model.heads()  # type: ignore[operator]
    frozen = any(not p.requires_grad for head in heads.values() for p in head.parameters())
    return digest_frozen(heads) if frozen else None


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
    """Write the trained tensors and a JSON that says what they are.

    Args:
        model (VisionLanguageModel): The model.
        folder (str | Path): Directory for ``adapter_model.safetensors`` and
            ``adapter_config.json``; created if missing.
        values (Mapping, optional): Tensors by name to write in place of the model's own, such as
            their averages. Defaults to None.

    Returns:
        Path: The folder.
    """
    folder = Path(folder)
    state = trained_state_dict(model)
    state = {name: (values or state)[name].cpu().contiguous() for name in state}
    config = {
        "format_version": FORMAT_VERSION,
        **_describe(model),
        "backbone_sha256": backbone_fingerprint(model),
        "frozen_heads_sha256": heads_fingerprint(model),
        "parameters": sum(tensor.numel() for tensor in state.values()),
        "extras": model.adapter_extras(),  # type: ignore[operator]
    }
    atomic_write(folder / WEIGHTS_NAME, save(state))
    atomic_write(folder / CONFIG_NAME, (json.dumps(config, indent=2) + "\n").encode())
    return folder


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: an adapter is the folder with {CONFIG_NAME} and {WEIGHTS_NAME}."
        )
    try:
        config = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON ({error}): save the adapter again.") from error
    for key in ("format_version", "method", "options", "backbone_sha256"):
        if not isinstance(config, dict) or key not in config:
            raise ValueError(f"{path} lacks the key {key!r}: it was not written by save_adapter.")
    if config["format_version"] != FORMAT_VERSION:
        raise ValueError(
            f"{path} has format_version={config['format_version']}, this version of uniadapter "
            f"reads {FORMAT_VERSION}: install the version that wrote it."
        )
    return config


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
    own = backbone_fingerprint(model)
    if own != config["backbone_sha256"]:
        raise ValueError(
            f"{folder} was trained on a backbone with other weights (sha256 "
            f"{config['backbone_sha256'][:12]}..., here {own[:12]}...): "
            "set model.pretrained to the weights it was trained from."
        )
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
            f"{folder} was trained with frozen heads of other weights (train_heads=False; sha256 "
            f"{config['frozen_heads_sha256'][:12]}..., here {heads[:12]}...): set model.pretrained "
            "to the weights it was trained from."
        )


def check_state(path: str | Path, state: dict[str, torch.Tensor], model: nn.Module) -> None:
    """Refuse trained tensors that do not fit the model's trained tensors exactly.

    Args:
        path (str | Path): Where the tensors come from, for the error.
        state (dict[str, Tensor]): Tensors by name.
        model (nn.Module): The model.

    Raises:
        ValueError: If no key matches, keys are missing or left over, or shapes differ.
    """
    wanted = trained_state_dict(model)
    if not set(wanted) & set(state):
        raise ValueError(
            f"{path} holds none of the model's {len(wanted)} trained tensors (file: "
            f"{sorted(state)[:3]}; model: {sorted(wanted)[:3]}): it belongs to another model."
        )
    lines = [f"missing in the file: {name}" for name in sorted(set(wanted) - set(state))]
    lines += [f"not in the model: {name}" for name in sorted(set(state) - set(wanted))]
    lines += [
        f"{name}: file {tuple(state[name].shape)}, model {tuple(wanted[name].shape)}"
        for name in sorted(set(wanted) & set(state))
        if not has_place(name, state[name].shape, wanted[name].shape)
    ]
    if lines:
        more = f"\n  ... and {len(lines) - 10} more" if len(lines) > 10 else ""
        raise ValueError(
            f"{path} does not fit the model:\n  " + "\n  ".join(lines[:10]) + more + "\n"
            "Build the model from the config that trained this file."
        )


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


def load_adapter(model: nn.Module, path: str | Path, check_backbone: bool = True) -> None:
    """Load an adapter that :func:`save_adapter` wrote.

    Args:
        model (VisionLanguageModel): A model of the same method, options and backbone weights.
        path (str | Path): The folder, or the safetensors file in it.
        check_backbone (bool): Compare the fingerprints of the backbone and of frozen heads.
            Defaults to True.

    Raises:
        FileNotFoundError: If one of the two files is missing.
        ValueError: If method, options, backbone or tensors differ; the error says which.
    """
    folder = Path(path)
    folder = folder.parent if folder.suffix == ".safetensors" else folder
    config = _read_config(folder / CONFIG_NAME)
    weights = folder / WEIGHTS_NAME
    state = read_safetensors(weights) if weights.is_file() else {}
    differences = _differences(config, model, state)
    if differences:
        raise ValueError(
            f"{folder} was trained with another adapter than the model's:\n  "
            + "\n  ".join(differences)
            + "\nUse the config that trained it, or set these keys with cfg_options."
        )
    if not weights.is_file():
        raise FileNotFoundError(f"{weights} is missing beside {CONFIG_NAME}: copy both files.")
    rename_state(model, state)
    state = drop_obsolete(weights, state, model)
    check_state(weights, state, model)
    if check_backbone:
        _check_frozen(folder, config, model)
    model.load_state_dict(state, strict=False)
    model.set_adapter_extras(config.get("extras", {}))  # type: ignore[operator]
