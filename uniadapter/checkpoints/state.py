"""What of a model stands in files, by name, and fingerprints of what does not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

#: Beginnings of the names of what training alone needs: averages, queue and counter of steps.
TRAINING_STATE = ("ema.", "queue.", "step")
#: Where a model keeps adapters that are not active, by name; no file but its state dict has them.
KEPT_ADAPTERS = "adapters"


def digest_frozen(parts: Mapping[str, nn.Module]) -> str:
    """SHA-256 over what is not trained of modules, but for position embeddings."""
    digest = hashlib.sha256()
    for prefix, part in sorted(parts.items()):
        trained = set(trained_state_dict(part))
        for name, tensor in sorted(part.state_dict().items()):
            if name == "pos_embed" or name in trained:
                continue
            digest.update(f"{prefix}.{name}{tuple(tensor.shape)}".encode())
            data = tensor.detach().to("cpu", torch.float32).contiguous()
            digest.update(memoryview(data.numpy()).cast("B") if data.numel() else b"")
    return digest.hexdigest()


def part_names(model: Any, parts: Iterable[str]) -> set[str]:
    """Names in the state dict that belong to parts such as ``'visual'`` or ``'itm_head'``."""
    prefixes = tuple(f"{part}." for part in parts)
    return {name for name in model.state_dict() if name.startswith(prefixes)}


def scalar_names(model: Any) -> set[str]:
    """Names of parameters outside towers, heads and adapter (the temperature)."""
    scalars = {id(parameter) for parameter in model.scalars().values()}
    return {name for name, parameter in model.named_parameters() if id(parameter) in scalars}


def weight_names(model: Any) -> set[str]:
    """Names of what a checkpoint holds: towers, heads, adapter and scalars, no training state."""
    parts = (*model.towers(), *model.heads(), "adapter")
    return part_names(model, parts) | scalar_names(model)


def trained_state_dict(model: nn.Module) -> dict[str, torch.Tensor]:
    """What training changes by its canonical name, tied tensors once, detached.

    The trained parameters, the statistics of batch norms that training changes, and what was drawn
    at random for this run beside a published backbone, see :func:`drawn_names`.
    """
    drawn = drawn_names(model)
    found = {
        name: parameter.detach()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad or name in drawn
    }
    return {**found, **_statistics(model)}


def drawn_names(model: nn.Module) -> set[str]:
    """Names of parameters that no backbone's file has and that may stay as they were drawn.

    Their modules say so in an attribute ``drawn``.
    """
    return {
        f"{path}.{name}".lstrip(".")
        for path, module in model.named_modules()
        if getattr(module, "drawn", False)
        for name, _ in module.named_parameters(recurse=False)
    }


def _statistics(model: nn.Module) -> dict[str, torch.Tensor]:
    """Running statistics of the batch norms that have a trained parameter, or move without one.

    A part whose ``norm_eval`` is off has norms of the latter kind.
    """
    moving = {
        id(norm)
        for part in model.modules()
        if not getattr(part, "norm_eval", True)
        for norm in part.modules()
    }
    found = {}
    for path, module in model.named_modules():
        trained = any(p.requires_grad for p in module.parameters(recurse=False))
        if isinstance(module, _BatchNorm) and (trained or id(module) in moving):
            found.update({f"{path}.{n}": b for n, b in module.named_buffers(recurse=False)})
    return found


def backbone_fingerprint(model: nn.Module) -> str:
    """SHA-256 over the towers' tensors, independent of device and of the image size.

    Position embeddings of the visual tower are left out: they are interpolated to the image size.
    So is what is trained of the towers (a language-model head, statistics of batch norms):
    training must not change it.

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


def check_fingerprint(
    path: str | Path, recorded: str | None, model: nn.Module, own: str | None = None
) -> None:
    """Refuse a file that was trained on another backbone than the model's.

    Args:
        path (str | Path): The file, for the error.
        recorded (str, optional): The fingerprint in the file.
        model (VisionLanguageModel): The model.
        own (str, optional): Its fingerprint, where it is known already.

    Raises:
        ValueError: If they differ.
    """
    own = backbone_fingerprint(model) if own is None else own
    if recorded != own:
        said = "none" if recorded is None else f"{recorded[:12]}..."
        raise ValueError(
            f"{path} was trained on a backbone with other weights (sha256 {said}, that of "
            f"model.pretrained={getattr(model, 'pretrained', None)!r} is {own[:12]}...): set "
            "model.pretrained to the weights it was trained from."
        )
