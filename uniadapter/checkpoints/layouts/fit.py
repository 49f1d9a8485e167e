"""Fitting renamed tensors to the model of a config, and refusing what does not fit."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from ..compare import Differences, compare
from ..state import drawn_names, part_names, scalar_names, weight_names
from .keys import Report, State


def _absent_part(name: str, model: Any) -> str | None:
    """The part of ``name`` that this kind of model does not have at all, or None."""
    part = name.split(".")[0]
    if part == "adapter":
        part = "decoder" if name.startswith("adapter.decoder_") else part
        return part if part == "decoder" and model.decoder is None else None
    known = {*model.towers(), *model.heads(), *scalar_names(model)}
    return None if part in known else part


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


def _remedy(differences: Differences, state: State) -> str:
    """What to do about them."""
    if differences.unknown and any(name.startswith("adapter.sides.") for name in state):
        return (
            "The file has UniPT's side networks: the config needs "
            "adapter=dict(type='UniPT', start='published') with all taps and the embedding's "
            "width (configs/unipt)."
        )
    if differences.unknown and any(name.startswith("adapter.") for name in state):
        return (
            "The file's config has other layers or options: the released checkpoints need "
            "type='UniAdapter', variant='released', sharing='down' and kv_rank=64 "
            "(configs/uniadapter/released_*.py)."
        )
    if differences.missing:
        return "Choose a checkpoint of this task or another --config."
    return "Change the config's layers or options, or override them with --cfg-options."


def _new_names(model: Any, chosen: State) -> set[str]:
    """Names of what no backbone's file need have, where this one has nothing of it."""
    given = {name.split(".")[0] for name in chosen}
    return part_names(model, model.new_heads() - given) | (drawn_names(model) - set(chosen))


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
    # Not every layout has a temperature; the model then keeps the one of its config.
    required = names - scalar_names(model) - _new_names(model, chosen)
    if not any(name.startswith("adapter.") for name in chosen):
        adapter = {name for name in required if name.startswith("adapter.")}
        required -= adapter
        if adapter:
            report.notes.append("no adapter in the source: the model's starts anew")
    differences = replace(compare(chosen, model, required, names), unknown=unfitting)
    differences.raise_for(path, _remedy(differences, state))
    _note_grid(chosen, wanted, report)
    return chosen
