"""How many steps epochs have, where they may differ from epoch to epoch."""

from __future__ import annotations

from typing import Any


def steps_of(loader: Any, epoch: int) -> int:
    """Steps of an epoch.

    Args:
        loader: A data loader. A batch sampler whose epochs differ has ``steps(epoch)``, see
            :class:`uniadapter.datasets.JointBatchSampler`.
        epoch: The epoch, from 0.
    """
    own = getattr(getattr(loader, "batch_sampler", None), "steps", None)
    return len(loader) if own is None else own(epoch)


def steps_before(loader: Any, epoch: int) -> int:
    """Steps before an epoch begins.

    Args:
        loader: As in :func:`steps_of`.
        epoch: The epoch, from 0.
    """
    return sum(steps_of(loader, earlier) for earlier in range(epoch))


def place_of(loader: Any, step: int) -> tuple[int, int, int]:
    """The epoch that a step is in.

    Args:
        loader: As in :func:`steps_of`.
        step: The step, from 0.

    Returns:
        The epoch, the steps before it, and the steps of it that are done.
    """
    epoch = before = 0
    while step >= before + (own := steps_of(loader, epoch)):
        epoch, before = epoch + 1, before + own
    return epoch, before, step - before
