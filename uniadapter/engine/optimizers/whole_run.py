"""What schedules have in common that are a function of the share of training that is done."""

from __future__ import annotations

from typing import Any

from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler


class WholeRunLR(LRSchedulerMixin, _ParamScheduler):
    """Learning rates by :meth:`factor`, over all steps from ``begin`` to ``end``.

    By epochs of MMEngine's loop give it with ``by_epoch=True, convert_to_iter_based=True``, and all
    iterations of training count. A step is an update of the weights: iterations whose gradients are
    accumulated (``optim_wrapper.accumulative_counts``) are one, and what is left over at the end
    has the factor behind the last.

    Args:
        optimizer: The optimizer, or its wrapper.
        warmup (float): Share of training that is warm-up. Defaults to 0.1.
        **kwargs: Those of MMEngine's schedulers: ``begin``, ``end``, ``by_epoch``, ``last_step``,
            ``verbose``.

    Raises:
        ValueError: If the warm-up is no share, or there is no end.
    """

    def __init__(self, optimizer: Any, warmup: float = 0.1, **kwargs: Any) -> None:
        name = type(self).__name__
        if not 0 <= warmup < 1:
            raise ValueError(f"{name}: warmup={warmup} must be a share in [0, 1).")
        end = kwargs.get("end", -1)
        if not 0 < end < float("inf"):
            raise ValueError(
                f"{name}: end={end}: the schedule ends with training, so that it must be "
                "known: set train_cfg.max_epochs and convert_to_iter_based=True, or end."
            )
        self.warmup = warmup
        super().__init__(optimizer, **kwargs)

    @classmethod
    def build_iter_from_epoch(
        cls,
        optimizer: Any,
        *,
        begin: int = 0,
        end: int = -1,
        by_epoch: bool = True,
        epoch_length: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Build a schedule by iterations from one by epochs, as MMEngine's runner asks for it.

        Args:
            optimizer: The optimizer, or its wrapper.
            begin (int): First epoch. Defaults to 0.
            end (int): Number of epochs.
            by_epoch (bool): Must be True.
            epoch_length (int): Iterations of an epoch.
            **kwargs: As for the class.

        Raises:
            ValueError: If it counts iterations already, or an epoch's length is not known.
        """
        if not by_epoch or not epoch_length or epoch_length < 1:
            raise ValueError(
                f"{cls.__name__}: convert_to_iter_based=True needs by_epoch=True and the length of "
                f"an epoch, got {by_epoch=}, {epoch_length=}."
            )
        whole = {"begin": int(begin * epoch_length), "end": int(end * epoch_length)}
        return cls(optimizer, by_epoch=False, **whole, **kwargs)

    def factor(self, step: int, steps: int) -> float:
        """What the rates are multiplied by in a step.

        Args:
            step (int): The step, from 0.
            steps (int): All steps.
        """
        raise NotImplementedError

    def _get_value(self) -> list[float]:
        """The values of this step, from the base values: nothing adds up over the steps."""
        each = getattr(self.optimizer, "_accumulative_counts", 1)
        steps = max(1, (self.end - self.begin) // each)
        factor = self.factor(self.last_step // each, steps)
        return [base * factor for base in self.base_values]
