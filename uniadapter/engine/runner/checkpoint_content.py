"""What a checkpoint holds of a model and of the message hub."""

from __future__ import annotations

import logging
from typing import Any

from mmengine.hooks import EMAHook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import nn

from uniadapter.checkpoints.state import drawn_names
from uniadapter.utils.safe_io import to_plain


def refuse_plain_ema(runner: Runner) -> None:
    """See that MMEngine's own averages don't meet weights that checkpoints leave out.

    Raises:
        ValueError: If they do.
    """
    plain = any(type(hook) is EMAHook for hook in runner.hooks)
    model = getattr(runner.model, "module", runner.model)
    wrapped = any(getattr(module, "leaves_out", False) for module in model.modules())
    if plain and (wrapped or restored_by_pretrained(model)):
        raise ValueError(
            "MMEngine's EMAHook averages and saves the frozen weights too, and can't resume from "
            "checkpoints that leave them out: write custom_hooks=[dict(type='uniadapter.EMAHook')]."
        )


def restored_by_pretrained(model: nn.Module) -> list[str]:
    """Names of the frozen tensors that ``model.pretrained`` restores, sorted."""
    if not getattr(model, "pretrained", None):
        return []
    towers: dict[str, nn.Module] = model.towers()  # type: ignore[operator]
    drawn = drawn_names(model)
    # A tied tensor stands under several names in the state dict: all of them are left out.
    return sorted(
        f"{prefix}.{name}"
        for prefix, tower in towers.items()
        for name, parameter in tower.named_parameters(remove_duplicate=False)
        if not parameter.requires_grad and f"{prefix}.{name}" not in drawn
    )


def plain_or_none(name: str, value: Any) -> Any:
    """A value of the message hub without pickled code; None, and a warning, if there is no such."""
    try:
        return to_plain(value)
    except TypeError:
        print_log(
            f"The message hub's {name!r} is not saved: it holds a {type(value).__name__}.",
            logger="current",
            level=logging.WARNING,
        )
        return None
