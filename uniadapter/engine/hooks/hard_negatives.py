"""From all negatives to the hardest ones."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from uniadapter.registry import HOOKS


@HOOKS.register_module()
class HardNegativeHook(Hook):
    """Warm a :class:`HingeContrastHead` up, as VSE-infinity does.

    For some epochs all negatives count. Then the hardest count alone, and for as many epochs the
    loss is raised linearly from 0 to its full size. Both depend on the iteration number alone, so a
    resumed run continues where it stopped.

    Args:
        epochs: Length of either phase in epochs; 0 takes the hardest negatives from the start.

    Raises:
        ValueError: If ``epochs`` is negative, or the model has no such head.
    """

    def __init__(self, epochs: float = 1.0) -> None:
        if epochs < 0:
            raise ValueError(f"HardNegativeHook.epochs is a length, at least 0; got {epochs}")
        self.epochs = epochs

    def _set(self, runner: Runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        head: Any = getattr(model, "contrast", None)
        if not hasattr(head, "hardest"):
            raise ValueError(
                "HardNegativeHook needs model.contrast=dict(type='HingeContrastHead'); "
                f"{type(model).__name__} has no such head: take the hook out of custom_hooks"
            )
        length = self.epochs * len(runner.train_dataloader)
        head.hardest = runner.iter >= length
        ramp = (runner.iter - length) / length if length else 1.0
        head.loss_scale = min(1.0, ramp) if head.hardest else 1.0

    def before_train(self, runner: Runner) -> None:
        """Set the values of the first iteration, which may be a resumed one.

        Args:
            runner: The runner.
        """
        self._set(runner)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Set the values of this iteration.

        Args:
            runner: The runner.
            batch_idx: Not used.
            data_batch: Not used.
        """
        self._set(runner)
