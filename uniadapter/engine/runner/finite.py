"""A run whose loss or weights are no numbers any more stops before it saves them."""

from __future__ import annotations

import math
from typing import Any

import torch
from mmengine.dist import all_gather_object, all_reduce, get_world_size
from torch import nn

from uniadapter.utils.finite import NotFiniteError


def check_losses(outputs: dict[str, Any] | None, iteration: int) -> None:
    """Stop all processes where the loss of one is not finite. A collective.

    With a loss that is finite, infinite gradients are the business of mixed precision's scaler,
    which leaves such a step out.

    Args:
        outputs: Losses of the step by name, as the loop hands them to hooks.
        iteration: Of the run, counted from 1.

    Raises:
        NotFiniteError: On all ranks, naming the iteration and the terms.
    """
    losses = {
        name: float(torch.as_tensor(value).detach())
        for name, value in (outputs or {}).items()
        if "loss" in name
    }
    bad = torch.tensor(int(not all(map(math.isfinite, losses.values()))))
    all_reduce(bad, "max")
    if not bad:
        return
    terms = []
    for rank, part in enumerate(all_gather_object(losses)):
        place = f" of process {rank}" if get_world_size() > 1 else ""
        terms += [
            f"{name}{place} is {value}" for name, value in part.items() if not math.isfinite(value)
        ]
    raise NotFiniteError(
        f"Iteration {iteration}: {', '.join(terms)}. The run stops before anything is saved; the "
        "checkpoints there are from before. Resume from one with a lower learning rate, "
        "optim_wrapper.clip_grad=dict(max_norm=1.0), or bfloat16 instead of float16, and look at "
        "the data of this iteration."
    )


def check_weights(model: nn.Module, iteration: int) -> None:
    """Refuse to save trained weights that are no numbers, which the next loss would have shown.

    Args:
        model: The model; its trained weights are alike on all ranks.
        iteration: Of the run, counted from 1.

    Raises:
        NotFiniteError: Naming the first of them.
    """
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if not trained:
        return
    finite = torch.stack([torch.isfinite(p.detach()).all() for _, p in trained]).tolist()
    bad = [name for (name, _), good in zip(trained, finite, strict=True) if not good]
    if bad:
        raise NotFiniteError(
            f"Iteration {iteration}: the step made {len(bad)} of {len(trained)} trained tensors "
            f"infinite or NaN, such as {bad[0]}. They are not saved. Resume from the checkpoint "
            "before with a lower learning rate or with optim_wrapper.clip_grad."
        )
