"""Sites: the named places of a tower's layers where a term may enter.

A tower knows where its sites are and what they see; it does not know what fills them. An adapter
knows what it puts into a site of a given width; it does not know the tower. They meet at a
:class:`Slot`, which refers to the adapter's modules without registering them, so that a tensor that
is used in several places is registered, saved and counted once, under the adapter.

A site is addressed ``role.site`` and then by the number of its layer, from 0. A *role* is a run of
a tower: BLIP's one BERT offers ``text.*`` and, where it reads a medium, ``fusion.*``.

=================  ===============================================  =====================================
site               the term is added to                             may read
=================  ===============================================  =====================================
``into``, ``mid``  the stream before attention / before the FFN     the stream
``attn``           the sub-layer's output, before dropout and       its output (sequential) or its input
``cross``          residual                                         (parallel)
``ffn``
``out``            the layer's output, inside the norm where that   the layer's output
                   comes last
``after_self``     the layer's output                               the state behind self-attention
``after_cross``    the layer's output                               the state behind cross-attention
``kv``             keys and values of all cross-attentions (one     the states that are read
                   slot a tower, under the number 0)
``keys``,          the keys and values of self-attention and of     nothing
``cross_keys``     cross-attention, in front of which others are
                   put (a :class:`KeySlot`)
``tokens``         the tokens in front of a layer, behind the       nothing
                   first one (a :class:`TokenSlot`; of texts in
                   front of the first layer alone; in front of all
                   that BART and T5 read or write)
=================  ===============================================  =====================================

A layer's matrices are places too, ``role.q``, ``k``, ``v``, ``o``, ``fc1``, ``fc2`` and, of
cross-attention, ``cross_q`` to ``cross_o``: a :class:`~.linears.LinearSite` each.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from .active_task import ActiveTask
from .linears import LinearSite
from .slots import Grid, KeySlot, Slot, TokenSlot, Use

__all__ = ["Grid", "KeySlot", "LayerSites", "Places", "Slot", "TokenSlot", "Use", "disabled"]


class LayerSites:
    """The sites of one layer in one role, as attributes; see the table above.

    Args:
        slots (Mapping[str, Slot]): The slots by the names of the sites.
    """

    def __init__(self, slots: Mapping[str, Slot]) -> None:
        self.slots = dict(slots)

    @classmethod
    def of(cls, dim: int, *names: str) -> LayerSites:
        """Empty slots of one width for some sites."""
        kinds: dict[str, type[Slot]] = {
            "keys": KeySlot,
            "cross_keys": KeySlot,
            "tokens": TokenSlot,
        }
        return cls({name: kinds.get(name, Slot)(dim) for name in names})

    def __getattr__(self, name: str) -> Any:
        # Only called for what is no attribute; copying asks before there is a dictionary.
        slots = self.__dict__.get("slots", {})
        if name not in slots:
            raise AttributeError(f"This layer has no site {name!r}, it has {list(slots)}.")
        return slots[name]

    def filled(self) -> list[str]:
        """Names of the sites that an adapter has filled."""
        return [name for name, slot in self.slots.items() if slot.filled]

    def local(self) -> bool:
        """Whether every term of a token needs that token alone."""
        return all(slot.local for slot in self.slots.values())


@dataclass
class Places:
    """All that a method is given of a model: where it may put something.

    Attributes:
        slots (dict): Slots by ``role.site`` and number of the layer, from 0. Numbers may have gaps
            (a fusion that begins in the middle of a tower).
        linears (dict): Matrices by ``role.name`` and number of the layer. Where two roles run the
            same module theirs are equal.
        towers (dict): The towers by the beginning of their parameters' names.
        switches (list): What else a method changes: objects whose attribute ``enabled`` a bare
            run sets to False.
        enabled (bool): Whether the adapter acts; see :func:`disabled`.
        embeddings (dict): Widths of what the task compares, by role.
        frozen (set): Roles whose states nothing reads but what is frozen.
        pooled (dict): Widths of what the task pools from all tokens of a role and compares. What
            takes the place of the role's run may give tokens of that width.
        maps (set): Roles whose layers leave maps (B, C, H, W) behind, each of a size of its own.
        tasks (ActiveTask, optional): The tasks that the model learns and the one that it runs.
            None: it knows one, without a name.
    """

    slots: dict[str, dict[int, Slot]] = field(default_factory=dict)
    linears: dict[str, dict[int, LinearSite]] = field(default_factory=dict)
    towers: dict[str, nn.Module] = field(default_factory=dict)
    switches: list[Any] = field(default_factory=list)
    enabled: bool = True
    embeddings: dict[str, int] = field(default_factory=dict)
    frozen: set[str] = field(default_factory=set)
    pooled: dict[str, int] = field(default_factory=dict)
    maps: set[str] = field(default_factory=set)
    tasks: ActiveTask | None = None

    def add(self, role: str, layers: Iterable[tuple[int, LayerSites]]) -> None:
        """Add the sites of a role.

        Args:
            role (str): Name of the role.
            layers (Iterable): Numbers of the layers and their sites.
        """
        for index, sites in layers:
            for name, slot in sites.slots.items():
                self.slots.setdefault(f"{role}.{name}", {})[index] = slot

    def add_linears(
        self, role: str, layers: Iterable[tuple[int, Mapping[str, LinearSite]]]
    ) -> None:
        """Add the matrices of a role.

        Args:
            role (str): Name of the role.
            layers (Iterable): Numbers of the layers and their matrices by name.
        """
        for index, found in layers:
            for name, site in found.items():
                self.linears.setdefault(f"{role}.{name}", {})[index] = site

    def roles(self) -> list[str]:
        """The roles that have a site or a matrix, in order."""
        addresses = (*self.slots, *self.linears)
        return list(dict.fromkeys(address.partition(".")[0] for address in addresses))

    def of(self, *addresses: str) -> dict[int, Slot]:
        """The slots of the first of some sites that the model has; empty where it has none."""
        return next((self.slots[name] for name in addresses if self.slots.get(name)), {})

    def need(self, address: str, method: str) -> dict[int, Slot]:
        """The slots of a site.

        Raises:
            ValueError: If the model does not have it; the error names what it has.
        """
        if not self.slots.get(address):
            raise ValueError(
                f"{method} fills the site {address!r}, which this model does not have: it has "
                f"{sorted(self.slots)}."
            )
        return self.slots[address]

    def widths(self, role: str) -> list[int]:
        """Widths of the states behind the layers of a role, one a layer, in order.

        Raises:
            ValueError: If the model does not have the role; the error names those that it has.
        """
        if role not in self.roles():
            raise ValueError(f"This model has no role {role!r}, it has {self.roles()}.")
        found: dict[int, int] = {}
        for address, layers in self.slots.items():
            # Keys and values are of what a tower reads.
            if address.startswith(f"{role}.") and address != f"{role}.kv":
                found.update({index: slot.dim for index, slot in layers.items()})
        return [found[index] for index in sorted(found)]

    def __iter__(self) -> Iterator[Slot]:
        """All slots."""
        return (slot for layers in self.slots.values() for slot in layers.values())


@contextmanager
def disabled(places: Places) -> Iterator[None]:
    """Switch all that fills places off inside the context: the model is the bare backbone there."""
    matrices = [site for layers in places.linears.values() for site in layers.values()]
    before = [(part, part.enabled) for part in dict.fromkeys((*places, *matrices))]
    before += [(part, part.enabled) for part in (*places.switches, places)]
    try:
        for part, _ in before:
            part.enabled = False
        yield
    finally:
        for part, state in before:
            part.enabled = state
