"""AdaLoRA's ranks, taken away while a model trains."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from uniadapter.registry import HOOKS

_KEY = "rank_schedule"


@HOOKS.register_module()
class RankScheduleHook(Hook):
    """Call an adapter's schedule behind every optimizer step, before gradients are cleared.

    The package's runner registers it where the adapter has a schedule (``PeftAdapter`` with
    AdaLoRA's ``target_r``, ``tinit``, ``tfinal`` ...), so a config needs no line for it. Steps are
    those of the optimizer: with accumulated gradients several iterations are one. Where the config
    has no ``total_step`` it is the number of steps of the training. Checkpoints have the state.
    """

    def __init__(self) -> None:
        self._handle: Any = None

    @staticmethod
    def _schedule(runner: Runner) -> Any:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        schedule = getattr(getattr(model, "adapter", None), "schedule", None)
        if schedule is None:
            raise ValueError(
                "RankScheduleHook: the model's adapter has no schedule; take the hook out of "
                "custom_hooks, or give PeftAdapter a config with peft_type='ADALORA' and target_r."
            )
        return schedule

    def before_train(self, runner: Runner) -> None:
        """Fix the length of the schedule and follow the optimizer.

        Args:
            runner: The runner.
        """
        schedule = self._schedule(runner)
        every = getattr(runner.optim_wrapper, "_accumulative_counts", 1)
        # The last iterations are a step too where they are fewer.
        schedule.begin(-(-runner.max_iters // every))
        optimizer: Any = runner.optim_wrapper.optimizer
        self._handle = optimizer.register_step_post_hook(lambda *_: schedule.after_step())

    def after_train(self, runner: Runner) -> None:
        """Leave the optimizer.

        Args:
            runner: The runner.
        """
        self._handle.remove()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Save the state of the schedule.

        Args:
            runner: The runner.
            checkpoint: What will be saved, changed in place.
        """
        checkpoint[_KEY] = self._schedule(runner).state()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Resume the state of the schedule.

        Args:
            runner: The runner.
            checkpoint: What was read.

        Raises:
            ValueError: If the resumed training had no schedule.
        """
        if not runner._resume:
            return
        if _KEY not in checkpoint:
            raise ValueError(
                "The checkpoint to be resumed has no state of AdaLoRA's schedule: it was trained "
                "at a constant rank. Leave target_r, tinit, tfinal, deltaT, beta1, beta2, "
                "total_step and orth_reg_weight out of adapter.config, or start anew."
            )
        self._schedule(runner).load_state(checkpoint[_KEY])
