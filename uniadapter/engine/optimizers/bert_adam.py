"""BERT's Adam, by which CLIP4Clip and UniPT train beside CLIP."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from uniadapter.registry import OPTIMIZERS


@OPTIMIZERS.register_module()
class BertAdam(Optimizer):
    r"""Adam without bias correction, with decay inside the step and a clip of every tensor.

    For each parameter p with gradient g, first cut to the norm ``max_grad_norm``:

    .. math::
        m = b_1 m + (1 - b_1) g, \quad v = b_2 v + (1 - b_2) g^2, \quad
        p = p - lr \, (m / (\sqrt{v} + eps) + wd \, p)

    The clip of one tensor comes behind that of all together (``optim_wrapper.clip_grad``). The
    learning rate, and with it the decay, is that of the scheduler,
    :class:`.warmup_cosine.WarmupCosineLR` in the authors' runs. The defaults are CLIP4Clip's, the
    rate that of what it trains anew; take the decay off biases with
    ``paramwise_cfg=dict(no_decay_bias=True)``.

    Args:
        params (Iterable): Parameters, or groups of them.
        lr (float): Learning rate. Defaults to 1e-4.
        betas (tuple[float, float]): b_1 and b_2. Defaults to (0.9, 0.98).
        eps (float): Defaults to 1e-6.
        weight_decay (float): wd. Defaults to 0.2.
        max_grad_norm (float): Largest norm of one tensor's gradient; 0 cuts none. Defaults to 1.

    Raises:
        ValueError: If an option is outside its range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-6,
        weight_decay: float = 0.2,
        max_grad_norm: float = 1.0,
    ) -> None:
        for name, value in (("lr", lr), ("weight_decay", weight_decay), ("eps", eps)):
            if value < 0:
                raise ValueError(f"BertAdam: {name}={value} must be at least 0.")
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"BertAdam: betas={betas} must be two numbers in [0, 1).")
        if max_grad_norm < 0:
            raise ValueError(
                f"BertAdam: max_grad_norm={max_grad_norm} must be at least 0; 0 cuts nothing."
            )
        defaults = {
            "lr": lr,
            "betas": tuple(betas),
            "eps": eps,
            "weight_decay": weight_decay,
            "max_grad_norm": max_grad_norm,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step; gradients above ``max_grad_norm`` are cut in place.

        Args:
            closure (Callable, optional): Computes the loss anew.

        Returns:
            float: What the closure gave.

        Raises:
            ValueError: If a gradient is sparse.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: torch.Tensor, group: dict[str, Any]) -> None:
        gradient = parameter.grad
        if gradient is None or gradient.is_sparse:
            raise ValueError("BertAdam takes dense gradients: use torch.optim.SparseAdam.")
        if group["max_grad_norm"] > 0:
            clip_grad_norm_([parameter], group["max_grad_norm"])
        state = self.state[parameter]
        if not state:
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        first, second = group["betas"]
        mean.mul_(first).add_(gradient, alpha=1 - first)
        square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        update = mean / (square.sqrt() + group["eps"])
        if group["weight_decay"] > 0:
            update.add_(parameter, alpha=group["weight_decay"])
        parameter.add_(update, alpha=-group["lr"])
