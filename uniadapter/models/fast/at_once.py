"""Gradients of a loss with large constants, taken before those are forgotten."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class _GradientAtOnce(torch.autograd.Function):
    """A loss whose gradients are taken in the forward pass.

    The candidates of the queue (tens of thousands of constant features) and the logits with them
    are then needed no longer, rather than kept until the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, loss: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> torch.Tensor:
        leaves = [t.detach().requires_grad_(t.requires_grad) for t in inputs]
        wanted = [t for t in leaves if t.requires_grad]
        with torch.enable_grad():
            value = loss(*leaves)
        gradients = iter(torch.autograd.grad(value, wanted) if wanted else ())
        ctx.gradients = [next(gradients) if t.requires_grad else None for t in leaves]
        return value.detach()

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "Gradients that are taken in the forward pass have no gradient of their own "
                "(create_graph=True): set model.fast.contrast_at_once=False."
            )
        return None, *(None if g is None else g * outer[0] for g in ctx.gradients)


def gradients_at_once(loss: Callable[..., torch.Tensor], *tensors: torch.Tensor) -> torch.Tensor:
    """``loss(*tensors)``, a scalar, with the gradients of the tensors taken at once."""
    return _GradientAtOnce.apply(loss, *tensors)
