"""What of a model is trained, and how much of it there is. By identity, never by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from .linears import is_norm, shifted


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


def check_trained(model: Any) -> None:
    """Refuse options of a task's model that would train nothing, or the same twice.

    Args:
        model (VisionLanguageModel): The model.

    Raises:
        ValueError: If weights are to be trained of towers that its adapter reads without a graph,
            or norms and biases beside the whole backbone.
    """
    parts = [f"train_{part}" for part in ("norms", "biases") if getattr(model, f"train_{part}")]
    if model.train_backbone and parts:
        raise ValueError(f"model.train_backbone=True trains all: leave out {parts}.")
    parts += ["train_backbone"] if model.train_backbone else []
    if parts and model.adapter is not None and model.adapter.tapped:
        raise ValueError(
            f"{type(model.adapter).__name__} reads the towers without a graph, so that "
            f"model.{parts[0]}=True would train nothing of them: set it to False."
        )


def norms_and_biases(
    towers: Mapping[str, nn.Module], norms: bool, biases: bool, taken: Iterable[nn.Parameter] = ()
) -> dict[str, list[nn.Parameter]]:
    """What of towers is trained in place, by component, each parameter once.

    Args:
        towers (Mapping[str, nn.Module]): Towers by name.
        norms (bool): Whether all parameters of norms are, as ``norms``.
        biases (bool): Whether all further biases are, as ``biases``.
        taken (Iterable[nn.Parameter]): Parameters of other components.

    Raises:
        ValueError: If the towers have none of what is wanted, or a method trains differences of it.
    """
    found: dict[str, list[nn.Parameter]] = {}
    seen = {id(parameter) for parameter in taken}
    for key, wanted in (("norms", norms), ("biases", biases)):
        if not wanted:
            continue
        found[key] = []
        for module in (part for tower in towers.values() for part in tower.modules()):
            own = dict(module.named_parameters(recurse=False))
            if key == "biases":
                own = {name: own[name] for name in own if name == "bias"}
            elif not is_norm(module):
                continue
            if own.keys() & shifted(module):
                raise ValueError(
                    f"model.train_{key}=True trains {key} in place, of which the adapter trains "
                    "differences already: leave one of both out."
                )
            found[key] += [p for p in own.values() if id(p) not in seen]
            seen |= {id(parameter) for parameter in own.values()}
        if not found[key]:
            raise ValueError(f"model.train_{key}=True, but these towers have no {key} to train.")
    return found


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
