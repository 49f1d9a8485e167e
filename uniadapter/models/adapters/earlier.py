"""What earlier versions wrote of a UniAdapter: modules that were created and that nothing ran."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import torch

_TENSOR = re.compile(r"(layers|decoder_layers)\.(\d+)\.((\w+)\.?(\w*).*)")


def translate_options(
    options: dict[str, Any], names: Collection[str], depth: int, idle: Collection[str]
) -> dict[str, Any]:
    """Options of a file as they are written for the adapter that the file's tensors make.

    Args:
        options (dict): Options of the file.
        names (Collection[str]): Names of its tensors.
        depth (int): Number of the last layer that ``layers=None`` adapts in the model.
        idle (Collection[str]): Uses of ``layers`` that the model never runs.

    Returns:
        dict: ``layers`` by number where earlier versions took fewer than there are (a decoder's
        layers above those of the text tower were left without), and ``towers`` without a textual
        adapter that nothing ran.
    """
    found = {int(match.group(2)) + 1 for match in map(_TENSOR.fullmatch, names) if match}
    if options.get("layers") is None and found and max(found) < depth:
        options = {**options, "layers": sorted(found)}
    towers = options.get("towers")
    if not isinstance(towers, list) or "text" not in idle:
        return options
    residual = options.get("query_residual", "shared") == "shared"
    read = "cross" in towers and (residual or options.get("textual_branch", True))
    if not read:
        options = {**options, "towers": [tower for tower in towers if tower != "text"]}
    if not options["towers"]:
        options = {**options, "layers": None, "shared_layers": None}
    return options


def obsolete_names(
    tensors: Mapping[str, torch.Tensor],
    idle: Mapping[str, Collection[str]],
    layers: Mapping[str, Collection[str]],
) -> set[str]:
    """Of tensors that a model lacks, those of modules that nothing ran.

    Such a module was never trained, so its up-projection is still zero and its norm changes
    nothing: a tensor that says otherwise is none of them.

    Args:
        tensors (Mapping[str, Tensor]): What a file has and the adapter lacks, by name.
        idle (Mapping[str, Collection[str]]): Uses that the model never runs, by group of layers.
        layers (Mapping[str, Collection[str]]): Indices of the model's layers by group.

    Returns:
        set[str]: Names.
    """
    found = set()
    for name, tensor in tensors.items():
        match = _TENSOR.fullmatch(name)
        if match is None:
            continue
        group, index, rest, part, use = match.groups()
        # A decoder was once given as many layers as the text tower has.
        whole = index not in layers[group] and (group == "decoder_layers" or bool(idle[group]))
        shared = use.startswith("shared") and bool(idle[group])
        of_use = part in ("down", "up") and (use in idle[group] or shared)
        norm = part in ("norm_before", "norm_cross") and bool(idle[group])
        if (whole or of_use or norm) and _untrained(part, rest, tensor):
            found.add(name)
    return found


def _untrained(part: str, rest: str, tensor: torch.Tensor) -> bool:
    """Whether a tensor may still be what it started as (a down-projection was drawn at random)."""
    if part.startswith("norm"):
        return bool((tensor == (0 if rest.endswith("bias") else 1)).all())
    return part != "up" or not bool(tensor.any())
