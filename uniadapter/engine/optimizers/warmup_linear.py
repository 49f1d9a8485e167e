"""A linear warm-up and a linear way down to 0, counted in whole steps."""

from __future__ import annotations

from uniadapter.registry import PARAM_SCHEDULERS

from .whole_run import WholeRunLR


def warmup_linear(step: int, steps: int, warmup: float) -> float:
    """Factor of the learning rate.

    The first ``w = int(warmup * steps)`` steps have ``step / w``, from 0 on; the others
    ``(steps - step) / (steps - w)``, which is 1 at first and would be 0 behind the last one.

    Args:
        step (int): The step, from 0.
        steps (int): All steps.
        warmup (float): Share of them that is warm-up, [0, 1).
    """
    up = int(warmup * steps)
    if step < up:
        return step / up
    return max(0.0, (steps - step) / max(1, steps - up))


@PARAM_SCHEDULERS.register_module()
class WarmupLinearLR(WholeRunLR):
    """Learning rates by :func:`warmup_linear`, as VL-Adapter and CLIP-ViL train.

    The arguments are those of :class:`.whole_run.WholeRunLR`. The first step has a learning rate of
    0 unless the warm-up is shorter than one step.
    """

    def factor(self, step: int, steps: int) -> float:
        """See :func:`warmup_linear`."""
        return warmup_linear(step, steps, self.warmup)
