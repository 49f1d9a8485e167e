"""The schedule beside BertAdam: a linear warm-up that runs into a cosine of its own time."""

from __future__ import annotations

import math

from uniadapter.registry import PARAM_SCHEDULERS

from .whole_run import WholeRunLR


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
class WarmupCosineLR(WholeRunLR):
    """Learning rates by :func:`warmup_cosine`; the first step has a learning rate of 0.

    The arguments are those of :class:`.whole_run.WholeRunLR`.
    """

    def factor(self, step: int, steps: int) -> float:
        """See :func:`warmup_cosine`."""
        return warmup_cosine(step / steps, self.warmup)
