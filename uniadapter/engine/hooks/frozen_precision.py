"""Frozen weights in half precision."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import AmpOptimWrapper
from mmengine.runner import Runner

from uniadapter.models.precision import DTYPES, cast_frozen
from uniadapter.registry import HOOKS


@HOOKS.register_module()
class FrozenPrecisionHook(Hook):
    """Store the frozen matrices in the type that autocast computes in, see :func:`cast_frozen`.

    Training and evaluation then run under autocast. Checkpoints leave the frozen towers out
    (``model.pretrained`` restores them), so that nothing rounded is saved.

    Args:
        dtype: ``'bfloat16'`` or ``'float16'``; that of ``optim_wrapper.dtype``.

    Raises:
        ValueError: If the type is unknown, training does not run under autocast of this type, or
            there is no ``model.pretrained``.
    """

    def __init__(self, dtype: str = "bfloat16") -> None:
        if dtype not in DTYPES:
            raise ValueError(f"FrozenPrecisionHook.dtype={dtype!r}: choose from {sorted(DTYPES)}")
        self.dtype = dtype

    def before_train(self, runner: Runner) -> None:
        """Cast once all weights are loaded.

        Args:
            runner: The runner.
        """
        wrapper = runner.optim_wrapper
        dtype = getattr(wrapper, "cast_dtype", None) if isinstance(wrapper, AmpOptimWrapper) else 0
        if dtype != DTYPES[self.dtype]:
            raise ValueError(
                f"FrozenPrecisionHook(dtype={self.dtype!r}) needs training under autocast of that "
                f"type: set optim_wrapper.type='AmpOptimWrapper' and optim_wrapper.dtype="
                f"{self.dtype!r}"
            )
        self._cast(runner)

    def before_val(self, runner: Runner) -> None:
        """Cast for a validation without training.

        Args:
            runner: The runner.
        """
        self._cast(runner)

    def before_test(self, runner: Runner) -> None:
        """Cast for a test.

        Args:
            runner: The runner.
        """
        self._cast(runner)

    def _cast(self, runner: Runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if not model.pretrained:
            raise ValueError(
                "FrozenPrecisionHook needs model.pretrained: without it checkpoints hold the "
                "frozen weights as well, and they would be rounded"
            )
        count = cast_frozen(model, self.dtype)
        if count:
            runner.logger.info(f"{count:,} frozen weights are stored in {self.dtype}")
