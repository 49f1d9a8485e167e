"""The seam between adapters and towers: an adapter is a plan that fills sites with modules."""

from __future__ import annotations

import inspect
import json
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import MISSING, fields
from typing import Any

import torch
from torch import nn

from uniadapter.utils.safe_io import to_plain

from ..sites import Places, disabled
from ..taps import Call


def parse_layers(
    value: Iterable[int] | str | None, depth: int, key: str, lowest: int = 1
) -> list[int]:
    """Turn a choice of layers, counted from 1 as in the paper, into indices from 0.

    Args:
        value (Iterable[int] | str, optional): Layer numbers such as ``[5, 6]`` or ``'1-4,9-12'``.
            None chooses all of them.
        depth (int): Number of the last layer.
        key (str): Name of the option, for the error.
        lowest (int): Number of the first; 0 where the embedding counts as one. Defaults to 1.

    Returns:
        list[int]: Sorted indices from 0.

    Raises:
        ValueError: If a number is not in lowest..depth, repeats, or the text is no list of ranges.
    """
    if value is None:
        return list(range(depth + 1 - lowest))
    numbers: list[int] = []
    if isinstance(value, str):
        for part in value.split(","):
            first, _, last = part.strip().partition("-")
            if not first.isdigit() or (last and not last.isdigit()):
                raise ValueError(f"{key}={value!r}: write ranges like '5-12' or '1-4,9-12'.")
            numbers.extend(range(int(first), int(last or first) + 1))
    else:
        numbers = [int(number) for number in value]
    if not numbers:
        raise ValueError(f"{key}={value!r} chooses no layer: name at least one, or None for all.")
    wrong = sorted({number for number in numbers if not lowest <= number <= depth})
    if wrong:
        raise ValueError(
            f"{key}={value!r}: layers {wrong} do not exist, choose from {lowest}..{depth}."
        )
    if len(set(numbers)) != len(numbers):
        raise ValueError(f"{key}={value!r} names a layer twice.")
    return sorted(number - lowest for number in numbers)


def check_choice(value: object, choices: Iterable[object], key: str) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``."""
    choices = list(choices)
    if value not in choices:
        raise ValueError(f"{key}={value!r} is unknown: choose from {choices}.")


def check_int(value: object, least: int, key: str) -> None:
    """Raise ValueError unless ``value`` is an int of at least ``least``."""
    if not isinstance(value, int) or value < least:
        raise ValueError(f"{key}={value!r} must be an int >= {least}.")


# Options that name some of a set, in whatever order.
_SETS = ("roles", "share", "sites", "targets")


class Adapter(nn.Module):
    """Base class of adapters.

    A subclass creates its modules for the places it is given and fills them in its constructor.

    Args:
        places (Places): The sites of the model.
        options (dict): The method's options, written beside its checkpoints and compared when one
            is loaded.
    """

    #: Roles whose runs :meth:`run` takes the place of, all else being the tower's. A method that
    #: fills sites has none.
    tapped: tuple[str, ...] = ()

    #: Those among them whose embedding, where the task compares one, gets a :meth:`term`. What
    #: projects it stays frozen.
    embedded: tuple[str, ...] = ()

    #: Those among :attr:`tapped` whose states come in the width that the task pools and compares
    #: (``places.pooled``), so that the task projects them no more.
    pooled: tuple[str, ...] = ()

    #: Whether taps are read with the towers' dropout on while the model trains.
    tower_dropout: bool = False

    #: What changes the method behind optimizer steps, such as :class:`.rank_schedule.RankSchedule`;
    #: None: nothing does.
    schedule: Any = None

    #: Layers that an option ``layers`` chooses from, of a method that has one.
    depth: int | None = None

    def __init__(self, places: Places, options: dict[str, Any]) -> None:
        super().__init__()
        self.places = places
        self.options = options

    @property
    def method(self) -> str:
        """Name of the method, the class name it is registered under."""
        return type(self).__name__

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Defaults of the method's options, those of its base classes included."""
        found: dict[str, Any] = {}
        for kind in reversed(cls.__mro__):
            if "__init__" in vars(kind):
                parameters = inspect.signature(vars(kind)["__init__"]).parameters.values()
                found.update({p.name: p.default for p in parameters if p.default is not p.empty})
            if (declared := vars(kind).get("Options")) is not None:
                own = fields(declared)
                found.update({f.name: f.default for f in own if f.default is not MISSING})
        return found

    def normalise(self, option: str, value: Any) -> Any:
        """The form in which an option is compared with that of a file.

        ``layers`` as their numbers where :attr:`depth` is set, and ``roles``, ``sites`` and
        ``targets`` in one order; no roles are all. A subclass overrides it for other options that
        can be written in several ways.

        Args:
            option (str): Name of the option.
            value (Any): Its value, of the config or of a file.

        Returns:
            Any: The same for values that make the same adapter.

        Raises:
            ValueError: If the value is none of the option's.
        """
        value = json.loads(json.dumps(to_plain(value)))
        if option == "layers" and self.depth is not None:
            return parse_layers(value, self.depth, "adapter.layers")
        if option == "roles" and value is None:
            value = self.places.roles()
        return sorted(value) if option in _SETS and isinstance(value, list | tuple) else value

    def former_names(self) -> dict[str, str]:
        """Names of parameters by what files of earlier versions call them, where that differs.

        A subclass that renames a parameter says so here, and its old files load as before.
        """
        return {}

    def translate(self, options: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
        """Options of a file as this version writes them; a method that changed overrides it.

        Args:
            options (dict): Options of the file.
            names (Collection[str]): Names of its tensors, without ``adapter.``.

        Returns:
            dict: To be compared with the model's.
        """
        return options

    def obsolete(self, tensors: Mapping[str, torch.Tensor]) -> set[str]:
        """Which tensors an earlier version saved although nothing ever read them.

        They are left out when a file is loaded, and said in the log.

        Args:
            tensors (Mapping[str, Tensor]): What a file has and this adapter lacks, by name
                without ``adapter.``.

        Returns:
            set[str]: Their names; those of all others are an error of the file.
        """
        return set()

    def run(self, role: str, tower: Any, call: Call) -> torch.Tensor:
        """Run a tower in one of the roles of :attr:`tapped`, or something in its place.

        A side method reads ``call.taps()``, which has no graph, and returns states of its own.

        Args:
            role (str): ``'visual'``, ``'text'``, ``'fusion'`` or ``'decoder'``.
            tower (nn.Module): The tower that plays it.
            call (Call): This run.

        Returns:
            Tensor: States (B, L, W), those of the tower's tokens in their order.
        """
        return call()

    def term(self, role: str, embedding: torch.Tensor) -> torch.Tensor:
        """What is added to an embedding of a role of :attr:`embedded`, before its norm.

        It is asked for behind :meth:`run`, for the rows of that run.

        Args:
            role (str): ``'visual'`` or ``'text'``.
            embedding (Tensor): Of the frozen tower and projection, (B, E).

        Returns:
            Tensor: (B, E).
        """
        raise NotImplementedError

    def reads(self, role: str) -> list[int] | None:
        """Numbers of the taps that are read of a role, 0 being the embedding; None for all."""
        return None

    def adds(self, role: str) -> bool:
        """Whether :meth:`term` is asked for a role: where it is embedded and not disabled."""
        return role in self.embedded and self.places.enabled

    def takes(self, role: str) -> bool:
        """Whether :meth:`run` is asked for a role: where it is one of its own and not disabled."""
        return role in self.tapped and self.places.enabled

    def penalty(self) -> torch.Tensor | None:
        """What a step of training adds to its losses, a scalar; None: nothing."""
        return None

    def backbone_loaded(self) -> None:
        """Called when the towers' weights are other ones; for what was derived from them."""

    def components(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by component (``'adapter'`` at least), each parameter in one of them."""
        return {"adapter": list(self.parameters())}

    def disabled(self) -> AbstractContextManager[None]:
        """Switch the method off inside the context: the towers are bare there.

        Raises:
            ValueError: If it is merged into the towers.
        """
        if self.merged:
            raise ValueError("The adapter is merged into the backbone: unmerge() it first.")
        return disabled(self.places)

    @property
    def merged(self) -> bool:
        """Whether what was trained is in the towers' weights, see :meth:`merge`."""
        return False

    def merge(self) -> None:
        """Put what was trained into the towers' weights, so that nothing is left to compute.

        The frozen weights are kept, and :meth:`unmerge` gives them back bit for bit. A method that
        weights of the towers can hold inherits from :class:`.merging.MergingAdapter`.

        Raises:
            ValueError: If that can't be done.
        """
        raise ValueError(
            f"{self.method} cannot be merged into the backbone's weights: what it adds is no "
            "linear function of what it reads."
        )

    def unmerge(self) -> None:
        """Take it out again; see :meth:`merge`."""
        self.merge()

    @classmethod
    def adds_nothing(cls, tensors: Mapping[str, torch.Tensor]) -> bool:
        """Whether an adapter with these tensors leaves every state as it is, whatever the input.

        Earlier versions let a task train adapters that it never ran; such a file loads into the
        bare model.

        Args:
            tensors (Mapping[str, Tensor]): All tensors of a file, by name without ``adapter.``.

        Returns:
            bool: False unless a method knows that it is so.
        """
        return False
