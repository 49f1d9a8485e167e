"""Optimizer wrappers whose accumulated gradients are those of one large batch."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.optim import AmpOptimWrapper as PlainAmpOptimWrapper
from mmengine.optim import OptimWrapper as PlainOptimWrapper
from torch import Tensor, nn

from uniadapter.registry import OPTIM_WRAPPERS

_KEY = "accumulated_items"


class _Weighted:
    """Weighs accumulated steps by what their losses are means over.

    MMEngine divides each of n losses by n. A mean over words is then a mean of means, in which a
    word of a small step weighs more than one of a large step. Here step j of w_j words adds its
    gradient with the share w_j / (w_1 + ... + w_j), and what was there before is scaled by what
    is left of 1.

    Attributes:
        model: Whose ``loss_items`` says how many items (words, questions) the loss of this step is
            a mean over, on this rank. Where it is None, MMEngine's weights are taken.
    """

    model: nn.Module | None = None
    accumulated: Tensor | None = None

    def scale_loss(self, loss: Tensor) -> Tensor:
        """As MMEngine's, with shares by items.

        Args:
            loss: Scalar.

        Returns:
            The scaled loss.
        """
        wrapper: Any = self
        items = getattr(self.model, "loss_items", None)
        if wrapper._accumulative_counts == 1 or items is None:
            return super().scale_loss(loss)  # type: ignore[misc]
        own = torch.as_tensor(items, dtype=torch.float32, device=loss.device).clone()
        all_reduce(own)
        if wrapper._inner_count % wrapper._accumulative_counts == 0:
            self.accumulated = None
        if self.accumulated is None:
            self.accumulated = own
            return loss
        before = self.accumulated.to(own.device)
        total = (before + own).clamp(min=1)
        gradients = [
            p.grad
            for g in wrapper.optimizer.param_groups
            for p in g["params"]
            if p.grad is not None
        ]
        if gradients:
            torch._foreach_mul_(gradients, before / total)
        self.accumulated = total
        return loss * (own / total)

    def state_dict(self) -> dict[str, Any]:
        """As MMEngine's, with the items of the gradients that wait for more."""
        state = super().state_dict()  # type: ignore[misc]
        if self.accumulated is not None and not self.should_update():  # type: ignore[attr-defined]
            state[_KEY] = self.accumulated
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take what :meth:`state_dict` gave.

        Args:
            state_dict: The state.
        """
        state = dict(state_dict)
        self.accumulated = state.pop(_KEY, None)
        super().load_state_dict(state)  # type: ignore[misc]


@OPTIM_WRAPPERS.register_module()
class OptimWrapper(_Weighted, PlainOptimWrapper):
    """MMEngine's ``OptimWrapper`` with steps weighed by words."""


@OPTIM_WRAPPERS.register_module()
class AmpOptimWrapper(_Weighted, PlainAmpOptimWrapper):
    """MMEngine's ``AmpOptimWrapper`` with steps weighed by words."""
