"""AdaLoRA's schedule (Zhang et al. 2023): which ranks stay, decided by peft in training."""

from __future__ import annotations

import logging
from typing import Any

import torch
from mmengine.logging import print_log


class RankSchedule:
    """Takes ranks away step by step, and keeps the singular vectors nearly orthogonal.

    Both are peft's own: its allocator is called behind every optimizer step, and its penalty is
    computed as its ``forward`` does for models that return a loss.

    Args:
        tuner (nn.Module): Peft's AdaLoRA model of the adapted matrices.
        name (str): Peft's name of the adapter.
        given (bool): Whether ``total_step`` was set; otherwise :meth:`begin` sets it.

    Attributes:
        steps (int): Optimizer steps that were made.
    """

    def __init__(self, tuner: Any, name: str, given: bool) -> None:
        self.tuner, self.given, self.steps = tuner, given, 0
        self.config = tuner.peft_config[name]
        if self.config.target_r >= self.config.init_r:
            raise ValueError(
                f"adapter.config: target_r={self.config.target_r} must be below "
                f"init_r={self.config.init_r}, or no rank is taken away. Without any field of the "
                "schedule the rank stays init_r."
            )

    def begin(self, total: int) -> None:
        """Fix the length of the schedule; one that the training is too short for is said.

        Args:
            total (int): Optimizer steps of the training, for a config without ``total_step``.

        Raises:
            ValueError: If they leave no step between the first and the last phase.
        """
        if not self.given:
            self.config.total_step = total
        first, last = self.config.tinit, self.config.tfinal
        if first >= self.config.total_step - last:
            raise ValueError(
                f"adapter.config: tinit={first} and tfinal={last} leave none of "
                f"{self.config.total_step} optimizer steps in which ranks are taken away: shorten "
                "them, or train longer."
            )
        settled = self.config.total_step - last
        if settled > total:
            print_log(
                f"adapter.config: total_step={self.config.total_step} and tfinal={last} take ranks "
                f"away until step {settled}, but the training has {total}: more than "
                f"target_r={self.config.target_r} a matrix will stay. Leave total_step out, and it "
                "is the training's.",
                "current",
                logging.WARNING,
            )

    def after_step(self) -> None:
        """Called behind an optimizer step, while the gradients are still there.

        Raises:
            ValueError: If one of the matrices had no part in the step.
        """
        for parameter_name, parameter in self.tuner.model.named_parameters():
            if "lora_" in parameter_name and parameter.grad is None:
                raise ValueError(
                    f"AdaLoRA weighs ranks by gradients, and {parameter_name} had none in a step: "
                    "leave its role out (adapter.roles)."
                )
        self.tuner.update_and_allocate(self.steps)
        self.steps += 1

    def penalty(self) -> torch.Tensor | None:
        """``orth_reg_weight`` times the mean of ``|P P^T - I|`` over all matrices P; None at 0."""
        if not self.config.orth_reg_weight:
            return None
        sizes = []
        for name, parameter in self.tuner.model.named_parameters():
            if "lora_A" in name or "lora_B" in name:
                rows = parameter if "lora_A" in name else parameter.T
                gram = rows @ rows.T
                sizes.append(torch.norm(gram - torch.eye(len(gram), out=torch.empty_like(gram))))
        return self.config.orth_reg_weight * torch.stack(sizes).mean()

    def state(self) -> dict[str, Any]:
        """What a resumed training needs: steps, importances and the ranks that stay."""
        allocator = self.tuner.rankallocator
        return {
            "steps": self.steps,
            "exp_avg_ipt": {name: t.cpu().clone() for name, t in allocator.exp_avg_ipt.items()},
            "exp_avg_unc": {name: t.cpu().clone() for name, t in allocator.exp_avg_unc.items()},
            "rank_pattern": self.config.rank_pattern,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take what :meth:`state` gave."""
        allocator = self.tuner.rankallocator
        devices = {name: p.device for name, p in self.tuner.model.named_parameters()}
        for key in ("exp_avg_ipt", "exp_avg_unc"):
            tensors = {name: t.to(devices[name]).clone() for name, t in state[key].items()}
            setattr(allocator, key, tensors)
        allocator.ipt = {name: torch.zeros_like(t) for name, t in allocator.exp_avg_ipt.items()}
        self.steps, self.config.rank_pattern = state["steps"], state["rank_pattern"]
