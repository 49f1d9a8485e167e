"""What an adapter has put into towers, taken out as a whole and put back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .linears import LinearFilling, LinearSite, Shifts
from .sites import Places
from .slots import Slot


@dataclass
class Fillings:
    """All that fills the places of a model, outside of it.

    What is put back is the same objects in the same order, so that a model computes the same to the
    last bit, and nothing of another adapter stands in the way of a fast path meanwhile.

    Attributes:
        slots (list): Slots and the arguments that fill them, in the order they were filled in.
        linears (list): Matrices and what fills them.
        shifts (list): Differences to parameters of the towers.
    """

    slots: list[tuple[Slot, dict[str, Any]]] = field(default_factory=list)
    linears: list[tuple[LinearSite, LinearFilling]] = field(default_factory=list)
    shifts: list[Shifts] = field(default_factory=list)

    @classmethod
    def taken_from(cls, places: Places, switches: Iterable[Any] = ()) -> Fillings:
        """Empty the places of a model.

        Args:
            places (Places): The model's.
            switches (Iterable): ``Places.switches`` of the adapter.
        """
        taken = cls()
        filled = dict.fromkeys(slot for slot in places if slot.filled)
        for slot in sorted(filled, key=lambda slot: slot.filled_at):
            filling = slot.withdrawn()
            if filling is not None:
                taken.slots.append((slot, filling))
        sites = dict.fromkeys(s for layers in places.linears.values() for s in layers.values())
        for site in sites:
            found = site.withdrawn() if site.filled else None
            if found is not None:
                taken.linears.append((site, found))
        for part in switches:
            if isinstance(part, Shifts):
                part.take_out()
                taken.shifts.append(part)
        return taken

    def put_back(self) -> None:
        """Fill the places again, which must be empty."""
        for slot, filling in self.slots:
            slot.fill(**filling)
        for site, found in self.linears:
            site.put_back(found)
        for part in self.shifts:
            part.put_back()
