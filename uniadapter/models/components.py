"""What of a model is trained, and how much of it there is. By identity, never by name."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn


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
