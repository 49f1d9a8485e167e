"""Slots: the named places of a backbone layer that an adapter may fill.

A backbone knows that a layer has a slot and where its term is added; it does not know what fills
it. An adapter knows what it puts into a slot of a given width; it does not know the backbone. The
slot refers to the adapter's modules without registering them, so that a tensor used in several
places is registered, saved and counted once, under the adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

SlotMap = dict[str, list["Slot"]]
"""Slots of a model by name, one list entry a layer (``'visual'``, ``'text'``, ``'query'``,
``'cross'``) or a tower (``'kv'``); the slots of a decoder tower are prefixed ``'decoder.'``."""


class Slot:
    """A named place in a layer, empty until an adapter fills it.

    Args:
        dim (int): Width of the features the slot is called with.
        out_dim (int, optional): Width of the term it returns. Defaults to ``dim``.
    """

    def __init__(self, dim: int, out_dim: int | None = None) -> None:
        self.dim = dim
        self.out_dim = dim if out_dim is None else out_dim
        self.enabled = True
        self._use: Callable[[torch.Tensor], Any] | None = None

    @property
    def filled(self) -> bool:
        """Whether an adapter has filled the slot."""
        return self._use is not None

    def fill(self, use: Callable[[torch.Tensor], Any]) -> None:
        """Fill the slot.

        Args:
            use (Callable): Maps features (..., dim) to a term (..., out_dim).

        Raises:
            ValueError: If the slot is filled already.
        """
        if self._use is not None:
            raise ValueError("This slot is filled already: clear() it before filling it again.")
        self._use = use

    def clear(self) -> None:
        """Empty the slot."""
        self._use = None

    def __call__(self, x: torch.Tensor) -> Any:
        """Return the adapter's term for features ``x`` (..., dim), or None where there is none."""
        if self._use is None or not self.enabled:
            return None
        return self._use(x)

    def add(self, out: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return ``out`` plus the slot's term for ``x``; ``out`` itself when the slot is empty."""
        term = self(x)
        return out if term is None else out + term


@contextmanager
def disabled(slots: SlotMap) -> Iterator[None]:
    """Switch all slots off inside the context: the model is the bare backbone there."""
    flat = [slot for group in slots.values() for slot in group]
    before = [slot.enabled for slot in flat]
    try:
        for slot in flat:
            slot.enabled = False
        yield
    finally:
        for slot, state in zip(flat, before, strict=True):
            slot.enabled = state
