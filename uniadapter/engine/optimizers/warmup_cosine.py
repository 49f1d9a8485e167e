"""The schedule beside BertAdam: a linear warm-up that runs into a cosine of its own time."""

from __future__ import annotations

import math
from typing import Any

from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler

from uniadapter.registry import PARAM_SCHEDULERS


def warmup_cosine(progress: float, warmup: float) -> float:
    """Factor of the learning rate: ``x / warmup`` below ``warmup``, then ``(1 + cos(pi x)) / 2``.

    The cosine counts from the start of training, not from the end of the warm-up: with a warm-up of
    0.1 the factor goes up to 1 and drops to 0.976 where they meet.

    Args:
        progress (float): x, the share of training that is done.
        warmup (float): Share of training that is warm-up, [0, 1).
    """
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * progress))


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(LRSchedulerMixin, _ParamScheduler):
    """Learning rates by :func:`warmup_cosine`, over all steps from ``begin`` to ``end``.

    The first step has a learning rate of 0. By epochs of MMEngine's loop give it with
    ``by_epoch=True, convert_to_iter_based=True``, and all iterations of training count.

    Args:
        optimizer: The optimizer, or its wrapper.
        warmup (float): Share of training that is warm-up. Defaults to 0.1.
        **kwargs: Those of MMEngine's schedulers: ``begin``, ``end``, ``by_epoch``, ``last_step``,
            ``verbose``.

    Raises:
        ValueError: If the warm-up is no share, or there is no end.
    """

    def __init__(self, optimizer: Any, warmup: float = 0.1, **kwargs: Any) -> None:
        if not 0 <= warmup < 1:
            raise ValueError(f"WarmupCosineLR: warmup={warmup} must be a share in [0, 1).")
        end = kwargs.get("end", -1)
        if not 0 < end < float("inf"):
            raise ValueError(
                f"WarmupCosineLR: end={end}: the cosine ends with training, so that it must be "
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
    ) -> WarmupCosineLR:
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
                "WarmupCosineLR: convert_to_iter_based=True needs by_epoch=True and the length of "
                f"an epoch, got {by_epoch=}, {epoch_length=}."
            )
        whole = {"begin": int(begin * epoch_length), "end": int(end * epoch_length)}
        return cls(optimizer, by_epoch=False, **whole, **kwargs)

    def _get_value(self) -> list[float]:
        """The values of this step, from the base values: nothing adds up over the steps."""
        progress = self.last_step / (self.end - self.begin)
        factor = warmup_cosine(progress, self.warmup)
        return [base * factor for base in self.base_values]
