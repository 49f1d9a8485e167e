"""BitFit (Ben Zaken et al. 2022): the biases that are there, and nothing else."""

from __future__ import annotations

from typing import Any

import torch

from uniadapter.registry import MODELS

from ..linears import Shifts
from ..sites import Places
from .merging import MergingAdapter


@MODELS.register_module()
class BitFit(MergingAdapter):
    """Trains every bias of every module of the towers, of norms too; no new computation.

    What is trained is the difference to the frozen bias, so that the towers keep their weights.
    Weight decay draws towards the frozen bias then, where the original's draws towards zero. A
    language-model head on a decoder is no part of the towers. A bias of what nobody reads, such as
    the norm of a pooled state, gets no gradient.

    Args:
        places (Places): The model's sites and towers.

    Raises:
        ValueError: If no module has a bias.
    """

    def __init__(self, places: Places) -> None:
        super().__init__(places, {})
        self.shifts = Shifts(places.towers, ("bias",))
        if not self.shifts.frozen():
            raise ValueError("BitFit trains biases, of which these towers have none.")
        places.switches.append(self.shifts)

    def weights(self) -> dict[str, torch.Tensor]:
        """See :meth:`MergingAdapter.weights`."""
        return self.shifts.frozen()

    def folded(self) -> dict[str, torch.Tensor]:
        """See :meth:`MergingAdapter.folded`."""
        own = dict(self.shifts.named_parameters())
        return {name: frozen + own[name] for name, frozen in self.shifts.frozen().items()}

    def parts(self) -> list[Any]:
        """See :meth:`MergingAdapter.parts`."""
        return [self.shifts]
