"""What is shared over what: one specification for the projections of all positions.

A projection is kept apart by the axes that it is *not* shared over, ``share=dict(down=axes,
up=axes)``, and by the width of what it reads where towers differ in it.

============  ==============================================================================
axis          values
============  ==============================================================================
``layer``     number of the layer, from 0
``modality``  the role that is run, ``'visual'``, ``'text'``, ``'fusion'`` or ``'decoder'``
``site``      the place in the layer, ``'attn'``, ``'cross'``, ``'ffn'`` ...
``task``      the task of the batch, of a model that learns several (``Places.tasks``)
============  ==============================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..active_task import ActiveTask
from ..sites import Places, Slot
from .base import check_choice, parse_layers

AXES = ("layer", "modality", "site", "task")
SIDES = ("down", "up")
SITES = ("attn", "cross", "ffn", "out", "after_self", "after_cross")


@dataclass(frozen=True)
class Position:
    """A place that a term is added at, by the values of its axes.

    Attributes:
        layer (int): Number of the layer, from 0.
        role (str): The run.
        site (str): The place in the layer.
        width (int): Features there.
    """

    layer: int
    role: str
    site: str
    width: int

    def name(self, shared: Collection[str], task: str | None = None, by_width: bool = False) -> str:
        """What a tensor that is shared over some axes is called here: ``'0_text_attn_vqa'``.

        Args:
            shared (Collection[str]): Axes that it is shared over.
            task (str, optional): The task, of a tensor that is not shared over tasks.
            by_width (bool): Whether the width is in the name. Defaults to False.
        """
        values = {"layer": str(self.layer), "modality": self.role, "site": self.site, "task": task}
        own = [value for axis, value in values.items() if axis not in shared and value is not None]
        own += [f"w{self.width}"] if by_width else []
        return "_".join(own) or "shared"


def check_axes(axes: Any, key: str, choices: Iterable[str] = AXES) -> list[str]:
    """Axes in order.

    Args:
        axes (Iterable[str]): Axes that something is shared over.
        key (str): Name of the option, for the error.
        choices (Iterable[str]): Axes that there are. Defaults to all.

    Raises:
        ValueError: If one is unknown or repeats.
    """
    if isinstance(axes, str) or not isinstance(axes, Iterable):
        raise ValueError(f"{key}={axes!r} must be a list of axes, any of {list(choices)}.")
    found = list(axes)
    for axis in found:
        check_choice(axis, choices, key)
    if len(set(found)) != len(found):
        raise ValueError(f"{key}={found} names an axis twice.")
    return sorted(found, key=AXES.index)


def parse_share(value: Mapping[str, Iterable[str]] | None) -> dict[str, list[str]]:
    """The axes that down- and up-projections are shared over.

    Args:
        value (Mapping, optional): Axes by ``'down'`` and ``'up'``; one that is left out is shared
            over none. None: both over tasks.

    Raises:
        ValueError: If a side or an axis is unknown.
    """
    if value is None:
        return {side: ["task"] for side in SIDES}
    if not isinstance(value, Mapping) or set(value) - set(SIDES):
        raise ValueError(
            f"adapter.share={value!r} must be a dict of axes, such as dict(down=[], up=['task'])."
        )
    return {side: check_axes(value.get(side, ()), f"adapter.share.{side}") for side in SIDES}


def tasks_for(places: Places, shared: Collection[str], method: str) -> ActiveTask | None:
    """The tasks that tensors are kept apart by; None where they are shared over tasks.

    Args:
        places (Places): The model's sites.
        shared (Collection[str]): Axes.
        method (str): Whose, for the error.

    Raises:
        ValueError: If they are kept apart by task, and the model has no tasks.
    """
    if "task" in shared:
        return None
    if places.tasks is None:
        raise ValueError(
            f"{method} keeps parameters apart by task, but this model has no tasks: name 'task' "
            "among the axes of adapter.share (both of its sides where it has two), or take a model "
            "that learns several."
        )
    return places.tasks


def _check_chosen(
    places: Places, sites: Sequence[str], roles: Sequence[str] | None, method: str
) -> None:
    for key, values in (("sites", sites), ("roles", roles)):
        if values is not None and (not values or len(set(values)) != len(values)):
            raise ValueError(f"adapter.{key}={list(values)}: name at least one, each once.")
    for role in roles or ():
        check_choice(role, places.roles(), "adapter.roles")
    for site in sites:
        role, _, name = site.rpartition(".")
        check_choice(name, SITES, "adapter.sites")
        if role and roles is not None and role not in roles:
            raise ValueError(f"adapter.sites names {site!r}, of no role in {list(roles)}.")
        if role:
            places.need(site, method)


def choose(
    places: Places,
    sites: Sequence[str],
    roles: Sequence[str] | None,
    layers: Iterable[int] | str | None,
    method: str,
) -> tuple[dict[Position, Slot], int]:
    """The positions that a method fills.

    Args:
        places (Places): The model's sites.
        sites (Sequence[str]): Sites of every role, such as ``'attn'``, or of one,
            ``'visual.attn'``.
        roles (Sequence[str], optional): Runs that are adapted. None: all that have such a site.
        layers (Iterable[int] | str, optional): Layers, counted from 1. None: all.
        method (str): Whose, for errors.

    Returns:
        tuple: Slots by their positions; and the number of layers that there are to choose from.

    Raises:
        ValueError: If an option is outside its set, or the model has none of the sites.
    """
    _check_chosen(places, sites, roles, method)
    found: dict[Position, Slot] = {}
    for role in (r for r in places.roles() if roles is None or r in roles):
        wanted = [site for site in SITES if {site, f"{role}.{site}"} & set(sites)]
        own = {site: places.of(f"{role}.{site}") for site in wanted}
        if roles is not None and not any(own.values()):
            raise ValueError(
                f"{method} fills the sites {list(sites)} of the role {role!r}, of which this model "
                f"has none: it has {sorted(places.slots)}. Name other sites or roles."
            )
        for site, slots in own.items():
            for layer, slot in slots.items():
                found[Position(layer, role, site, slot.dim)] = slot
    if not found:
        raise ValueError(
            f"{method} fills the sites {list(sites)}, of which this model has none: it has "
            f"{sorted(places.slots)}."
        )
    depth = 1 + max(position.layer for position in found)
    numbers = set(parse_layers(layers, depth, "adapter.layers"))
    kept = {position: slot for position, slot in found.items() if position.layer in numbers}
    if not kept:
        raise ValueError(f"adapter.layers={layers!r} leaves none of the sites {list(sites)}.")
    return kept, depth


class Bank(nn.ModuleDict):
    """Modules by the values of the axes that they are not shared over, each of them once.

    Args:
        positions (Iterable[Position]): Where they are used.
        shared (Collection[str]): Axes that they are shared over.
        make (Callable): Makes the module of a position.
        tasks (ActiveTask, optional): See :func:`tasks_for`.
        method (str): Whose, for errors.
        by_width (bool): Whether modules are of a width, so that one serves its own alone. Defaults
            to True.
    """

    def __init__(
        self,
        positions: Iterable[Position],
        shared: Collection[str],
        make: Callable[[Position], nn.Module],
        tasks: ActiveTask | None = None,
        method: str = "This method",
        by_width: bool = True,
    ) -> None:
        super().__init__()
        positions = list(positions)
        self._shared, self._tasks, self._method = tuple(shared), tasks, method
        self._by_width = by_width and len({position.width for position in positions}) > 1
        for position in positions:
            for task in (None,) if tasks is None else tasks.names:
                name = self._name(position, task)
                if name not in self:
                    self[name] = make(position)

    def _name(self, position: Position, task: str | None) -> str:
        return position.name(self._shared, task, self._by_width)

    def of_position(self, position: Position) -> Any:
        """The module of a position, that of the task of the batch where there is one for each.

        Raises:
            ValueError: If there is one for each task, and none of them runs.
        """
        task = None if self._tasks is None else self._tasks.need(self._method)
        return self[self._name(position, task)]


class ByTask(nn.ModuleDict):
    """A module for each task, of which that of the batch acts.

    Args:
        tasks (ActiveTask): The tasks.
        make (Callable): Makes a module.
        method (str): Whose, for errors.
    """

    def __init__(self, tasks: ActiveTask, make: Callable[[], nn.Module], method: str) -> None:
        super().__init__({name: make() for name in tasks.names})
        self._tasks, self._method = tasks, method

    def forward(self, *args: Any) -> Any:
        """What the module of the batch's task gives.

        Raises:
            ValueError: If no task runs.
        """
        return self[self._tasks.need(self._method)](*args)
