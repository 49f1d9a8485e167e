"""Ramp of the soft targets' share in the contrastive loss."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from uniadapter.registry import HOOKS


@HOOKS.register_module()
class AlphaRampHook(Hook):
    """Raise ``model.alpha_scale`` linearly from 0 to 1 over the first epoch (as BLIP does).

    The model multiplies its alpha, the share of the momentum model's soft targets, by it. The value
    depends on the iteration number alone, so a resumed run continues where it stopped.

    Args:
        epochs: Length of the ramp in epochs; 0 sets 1 from the start.

    Raises:
        ValueError: If ``epochs`` is negative, or the model has no ``alpha_scale``.
    """

    def __init__(self, epochs: float = 1.0) -> None:
        if epochs < 0:
            raise ValueError(f"AlphaRampHook.epochs is a length, at least 0; got {epochs}")
        self.epochs = epochs

    def _set(self, runner: Runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if not hasattr(model, "alpha_scale"):
            raise ValueError(
                f"AlphaRampHook needs a model with alpha_scale, {type(model).__name__} has none; "
                "take the hook out of custom_hooks"
            )
        length = self.epochs * len(runner.train_dataloader)
        model.alpha_scale = min(1.0, runner.iter / length) if length else 1.0

    def before_train(self, runner: Runner) -> None:
        """Set the value of the first iteration, which may be a resumed one.

        Args:
            runner: The runner.
        """
        self._set(runner)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Set the value of this iteration.

        Args:
            runner: The runner.
            batch_idx: Not used.
            data_batch: Not used.
        """
        self._set(runner)
