"""Methods that a tower's own weights can hold: merged, they cost nothing."""

from __future__ import annotations

from typing import Any

import torch

from ..sites import Places
from .base import Adapter


class MergingAdapter(Adapter):
    """Base class of methods that can be written as other weights of the towers.

    A subclass says which (:meth:`weights`), what they become (:meth:`folded`), and what acts as
    long as they aren't (:meth:`parts`).
    """

    def __init__(self, places: Places, options: dict[str, Any]) -> None:
        super().__init__(places, options)
        self._kept: dict[str, torch.Tensor] = {}

    def weights(self) -> dict[str, torch.Tensor]:
        """The towers' tensors that are changed, by a name; their own memory."""
        raise NotImplementedError

    def folded(self) -> dict[str, torch.Tensor]:
        """What they become, by the same names."""
        raise NotImplementedError

    def parts(self) -> list[Any]:
        """Objects whose attribute ``enabled`` says whether they act."""
        raise NotImplementedError

    @property
    def merged(self) -> bool:
        """See :meth:`Adapter.merged`."""
        return bool(self._kept)

    @torch.no_grad()
    def merge(self) -> None:
        """See :meth:`Adapter.merge`; twice is an error.

        Raises:
            ValueError: If it is merged already, or a weight can't take it.
        """
        if self.merged:
            raise ValueError(f"This {self.method} is merged already.")
        weights, folded = self.weights(), self.folded()
        self._kept = {name: tensor.clone() for name, tensor in weights.items()}
        for name, tensor in weights.items():
            tensor.copy_(folded[name])
        self._switch(False)

    @torch.no_grad()
    def unmerge(self) -> None:
        """See :meth:`Adapter.unmerge`.

        Raises:
            ValueError: If it is not merged.
        """
        if not self.merged:
            raise ValueError(f"This {self.method} is not merged.")
        for name, tensor in self.weights().items():
            tensor.copy_(self._kept[name])
        self._kept = {}
        self._switch(True)

    def _switch(self, on: bool) -> None:
        for part in self.parts():
            part.enabled = on

    def train(self, mode: bool = True) -> MergingAdapter:
        """Set the mode.

        Raises:
            ValueError: If it would be trained while it is merged.
        """
        if mode and self.merged:
            raise ValueError(f"This {self.method} is merged: unmerge() it before training.")
        super().train(mode)
        return self
