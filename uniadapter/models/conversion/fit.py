"""Fitting renamed tensors to the model of a config, and refusing what does not fit."""

from __future__ import annotations

import math
from typing import Any

import torch

from ..pretrained import has_place
from .keys import Report, State


def _scalar_names(model: Any) -> set[str]:
    """Names of parameters outside towers, heads and adapter (the temperature)."""
    scalars = {id(parameter) for parameter in model.scalars().values()}
    return {name for name, parameter in model.named_parameters() if id(parameter) in scalars}


def weight_names(model: Any) -> set[str]:
    """Names of what a checkpoint holds: towers, heads, adapter and scalars, no training state."""
    prefixes = tuple(f"{part}." for part in (*model.towers(), *model.heads(), "adapter"))
    return {n for n in model.state_dict() if n.startswith(prefixes)} | _scalar_names(model)


def _absent_part(name: str, model: Any) -> str | None:
    """The part of ``name`` that this kind of model does not have at all, or None."""
    part = name.split(".")[0]
    if part == "adapter":
        part = "decoder" if name.startswith("adapter.decoder_") else part
        return part if part == "decoder" and model.decoder is None else None
    known = {*model.towers(), *model.heads(), *_scalar_names(model)}
    return None if part in known else part


def _ranks(name: str, file: torch.Size, own: torch.Size) -> str | None:
    """Say a difference of shapes as the option that causes it."""
    down = ".down." in name and file[-1:] == own[-1:] and file[0] != own[0]
    if down and name.startswith("adapter.layers."):
        return f"adapter.bottleneck: file r={file[0]}, config r={own[0]}"
    if down and name.startswith(("adapter.kv.", "adapter.decoder_kv.")):
        return f"adapter.kv_rank: file {file[0]}, config {own[0]}"
    return None


def _shape_errors(state: State, wanted: State) -> list[str]:
    differing = {
        name: (tensor.shape, wanted[name].shape)
        for name, tensor in state.items()
        if not has_place(name, tensor.shape, wanted[name].shape)
    }
    said = [_ranks(name, *shapes) for name, shapes in differing.items()]
    options = list(dict.fromkeys(text for text in said if text is not None))
    if options:
        return options
    return [
        f"{name}: file {tuple(file)}, config {tuple(own)}"
        + (" (no square of patches and one class token)" if _no_square(name, file, own) else "")
        for name, (file, own) in differing.items()
    ]


def _no_square(name: str, file: torch.Size, own: torch.Size) -> bool:
    return name.endswith("pos_embed") and file[-1:] == own[-1:]


def _note_grid(state: State, wanted: State, report: Report) -> None:
    """Say that position embeddings keep the source's grid where the model's is another."""
    name = "visual.pos_embed"
    if name in state and state[name].shape != wanted[name].shape:
        grids = [math.isqrt(tensors[name].shape[1] - 1) for tensors in (state, wanted)]
        theirs, ours = (f"{side} x {side}" for side in grids)
        report.notes.append(
            f"{name} keeps the source's {theirs} patches; loading into the config's model "
            f"interpolates them to {ours}"
        )


def _refuse_unfitting(path: str, unfitting: list[str], state: State, model: Any) -> None:
    if not unfitting:
        return
    remedy = "its config has other layers or options"
    if any(name.startswith("adapter.") for name in state):
        remedy += (
            ", the released checkpoints need type='UniAdapter', variant='released', "
            "sharing='down' and kv_rank=64 (configs/uniadapter/released_*.py)"
        )
    raise ValueError(
        f"{path} has {len(unfitting)} tensors without a place in {type(model).__name__}, such as "
        f"{unfitting[:3]}: {remedy}."
    )


def fit_to_model(state: State, report: Report, model: Any, path: str) -> State:
    """Choose the tensors a model needs.

    Args:
        state (dict[str, Tensor]): Tensors by our name.
        report (Report): Of :func:`map_keys`; keys of parts the model lacks move to ``left``.
        model (VisionLanguageModel): The model of the config; it may be on the meta device.
        path (str): Where the tensors come from, for errors.

    Returns:
        dict[str, Tensor]: Towers, heads and scalars of the model, and the adapter if the file has
        one.

    Raises:
        ValueError: If a tensor has no place in the model, is missing or has another shape.
    """
    own, names = model.state_dict(), weight_names(model)
    wanted = {name: own[name] for name in names}
    chosen, unfitting = {}, []
    for name, tensor in state.items():
        absent = _absent_part(name, model)
        if name in wanted:
            chosen[name] = tensor
        elif absent is None:
            unfitting += [key for key, ours in report.used.items() if ours == name]
        else:
            for key in [key for key, ours in report.used.items() if ours == name]:
                del report.used[key]
                report.left[key] = f"{type(model).__name__} of the config has no {absent}"
    _refuse_unfitting(path, unfitting, state, model)
    has_adapter = any(name.startswith("adapter.") for name in chosen)
    missing = set(wanted) - set(chosen)
    if not has_adapter and any(name.startswith("adapter.") for name in missing):
        missing = {name for name in missing if not name.startswith("adapter.")}
        report.notes.append("no adapter in the source: the model's starts anew")
    # Not every layout has a temperature; the model then keeps the one of its config.
    missing -= _scalar_names(model)
    if missing:
        parts = sorted({name.split(".")[0] for name in missing})
        raise ValueError(
            f"{path} lacks {len(missing)} tensors that {type(model).__name__} needs, in {parts}, "
            f"such as {sorted(missing)[:3]}: choose a checkpoint of this task or another --config."
        )
    errors = _shape_errors(chosen, wanted)
    if errors:
        raise ValueError(
            f"{path} does not fit the config:\n  " + "\n  ".join(errors[:8]) + "\n"
            "Change the config, or override it with --cfg-options."
        )
    _note_grid(chosen, wanted, report)
    return chosen
