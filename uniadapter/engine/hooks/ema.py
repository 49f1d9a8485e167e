"""Averages of the weights for evaluation, which go with this package's checkpoints."""

from __future__ import annotations

import logging
from typing import Any

import torch
from mmengine.hooks import EMAHook as PlainEMAHook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import MODELS
from mmengine.runner import Runner
from torch import nn

from uniadapter.checkpoints.former_names import rename_checkpoint
from uniadapter.registry import HOOKS


class TrainedView(nn.Module):
    """The trained parameters of a model, the same objects, and nothing of what is frozen.

    Args:
        model (nn.Module): The model.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                # Names of parameters can't hold dots.
                self.register_parameter(name.replace(".", "/"), parameter)

    def names(self) -> list[str]:
        """Their names in the model."""
        return [name.replace("/", ".") for name, _ in self.named_parameters()]


@HOOKS.register_module()
class EMAHook(PlainEMAHook):
    """MMEngine's ``EMAHook``, which averages the trained weights alone.

    What is frozen averages to itself, so it is neither copied nor saved. As with MMEngine's hook,
    validation and test use the averages, a checkpoint's ``state_dict`` has the averages (they are
    what is deployed) and its ``ema_state_dict`` the weights that training goes on with. The adapter
    that :class:`SafeCheckpointHook` exports has the averages too.

    It has nothing to do with the momentum averages of a retrieval model's targets.

    Args:
        *args: As MMEngine's hook.
        from_start: The averages begin with the weights before the first step, as MDETR's. By
            default they begin with those behind it, as MMEngine's do.
        **kwargs: As MMEngine's hook, without ``update_buffers``.

    Raises:
        ValueError: If ``update_buffers`` is set, or averages that start later are to begin before
            the first step.
    """

    def __init__(self, *args: Any, from_start: bool = False, **kwargs: Any) -> None:
        if kwargs.get("update_buffers"):
            raise ValueError(
                "EMAHook.update_buffers=True: only trained weights are averaged, and they are no "
                "buffers. Leave it out."
            )
        super().__init__(*args, **kwargs)
        if from_start and (self.begin_iter or self.begin_epoch):
            raise ValueError(
                "EMAHook.from_start=True averages from the first step on: leave begin_iter and "
                "begin_epoch out."
            )
        self.from_start = from_start
        self._resumed = False

    def before_run(self, runner: Runner) -> None:
        """Copy the trained weights.

        Args:
            runner: The runner.
        """
        model = _unwrapped(runner.model)
        # What the base class averages and exchanges.
        self.src_model = TrainedView(model)
        self.ema_model = MODELS.build(self.ema_cfg, default_args={"model": self.src_model})

    def before_train(self, runner: Runner) -> None:
        """Start from the loaded weights, unless averages were resumed.

        Args:
            runner: The runner.
        """
        super().before_train(runner)
        self._follow()
        if self.from_start and not int(self.ema_model.steps):
            # The first update copies.
            self.ema_model.update_parameters(self.src_model)

    def before_val(self, runner: Runner) -> None:
        """Start from the loaded weights where nothing was averaged yet.

        Args:
            runner: The runner.
        """
        self._follow()

    def before_test(self, runner: Runner) -> None:
        """Start from the loaded weights where nothing was averaged yet.

        Args:
            runner: The runner.
        """
        self._follow()

    @torch.no_grad()
    def _follow(self) -> None:
        if self._resumed or int(self.ema_model.steps):
            return
        pairs = zip(self.ema_model.module.parameters(), self.src_model.parameters(), strict=True)
        for average, parameter in pairs:
            average.copy_(parameter)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Save the averages as the model's weights, and the weights beside them.

        Args:
            runner: The runner.
            checkpoint: What will be saved, changed in place.
        """
        state, averages = checkpoint["state_dict"], self.ema_model.state_dict()
        kept = {n: t for n, t in averages.items() if not n.startswith("module.")}
        for name in self.src_model.names():
            kept[f"module.{name}"] = state[name]
            state[name] = averages[f"module.{name.replace('.', '/')}"].cpu().clone()
        checkpoint["ema_state_dict"] = kept

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Resume averages and weights. Weights that are only loaded are averaged anew.

        Args:
            runner: The runner.
            checkpoint: What was read, changed in place.
        """
        if not runner._resume:
            return
        rename_checkpoint(_unwrapped(runner.model), checkpoint)
        saved, state = checkpoint.get("ema_state_dict"), checkpoint["state_dict"]
        if saved is None:
            print_log(
                "The checkpoint has no averages of EMAHook: they start from its weights.",
                logger="current",
                level=logging.WARNING,
            )
            return
        # Files of MMEngine's hook have the frozen weights as well, and no use for them.
        averages = {n: t for n, t in saved.items() if not n.startswith("module.")}
        names = self.src_model.names()
        if not all(name in state and f"module.{name}" in saved for name in names):
            return  # Of another model, which SafeCheckpointHook says.
        for name in names:
            averages[f"module.{name.replace('.', '/')}"] = state[name]
            state[name] = saved[f"module.{name}"]
        self.ema_model.load_state_dict(averages)
        self._resumed = True


def _unwrapped(model: Any) -> Any:
    return model.module if is_model_wrapper(model) else model
