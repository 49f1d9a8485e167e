"""Numbers that are no numbers: stop, and say where they came from."""

from __future__ import annotations

import torch
from torch import Tensor


class NotFiniteError(ValueError):
    """A loss, a weight or a score is NaN or infinite."""


def refuse_nan(scores: Tensor, what: str) -> Tensor:
    """Refuse scores that order nothing.

    Args:
        scores: Any shape; infinite ones are fine, as they stand for what is left out.
        what: Names them in the error.

    Returns:
        The scores.

    Raises:
        NotFiniteError: If one is NaN.
    """
    bad = torch.isnan(scores)
    if bool(bad.any()):
        raise NotFiniteError(
            f"{what}: {int(bad.sum())} of {bad.numel()} are NaN, and an order of NaN means "
            "nothing. Look for a diverged or wrongly loaded checkpoint, or for pixels or "
            "features that are not finite."
        )
    return scores
