"""Bottlenecks at sub-layers whose projections come from somewhere: banks, or a hyper-network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ..sites import Places
from .base import Adapter, check_choice, check_int
from .bottleneck import ACTIVATIONS
from .sharing import Position, choose

Projection = Callable[[torch.Tensor], torch.Tensor]

#: Other names of activations, as transformers calls them.
ALIASES = {"gelu_new": "gelu_tanh"}


@dataclass(frozen=True)
class SubLayerOptions:
    """What a config may say of bottlenecks at sub-layers.

    Args:
        bottleneck (int, optional): Width r. Defaults to None: by ``reduction_factor``.
        reduction_factor (int, optional): ``r = width // reduction_factor``. Defaults to 8 where
            there is no ``bottleneck``.
        sites (list[str]): Any of ``'attn'``, ``'cross'``, ``'ffn'``, ``'out'``, ``'after_self'``
            and ``'after_cross'`` where a role has them, or those of one role, ``'visual.attn'``.
            Defaults to the first three.
        cross_attention (bool): Behind cross-attentions, too; False takes ``'cross'`` out of
            ``sites``. Defaults to True.
        roles (list[str], optional): Runs that are adapted. Defaults to None, all that have a site.
        layers (list[int] | str, optional): Adapted layers, counted from 1. Defaults to None, all.
        reads (str): The ``'output'`` of the sub-layer (sequential) or its ``'input'`` (parallel).
            Defaults to ``'output'``.
        activation (str): ``'gelu_new'`` (tanh-approximated), ``'relu'``, ``'gelu'``, ``'silu'`` or
            ``'none'``. Defaults to ``'gelu_new'``.
        scale (float): Factor of the term. Defaults to 1.
    """

    bottleneck: int | None = None
    reduction_factor: int | None = None
    sites: Iterable[str] = ("attn", "cross", "ffn")
    cross_attention: bool = True
    roles: Iterable[str] | None = None
    layers: Iterable[int] | str | None = None
    reads: str = "output"
    activation: str = "gelu_new"
    scale: float = 1.0

    def __post_init__(self) -> None:
        for name in ("sites", "roles", "layers"):
            value = getattr(self, name)
            if value is not None and not (name == "layers" and isinstance(value, str)):
                value = [value] if isinstance(value, str) else list(value)
                object.__setattr__(self, name, value)
        object.__setattr__(self, "activation", ALIASES.get(self.activation, self.activation))
        check_choice(self.activation, ACTIVATIONS, "adapter.activation")
        check_choice(self.reads, ("output", "input"), "adapter.reads")
        given = {name: getattr(self, name) for name in ("bottleneck", "reduction_factor")}
        if all(value is not None for value in given.values()):
            raise ValueError(
                f"adapter.bottleneck={self.bottleneck} and adapter.reduction_factor="
                f"{self.reduction_factor} both say how wide a bottleneck is: leave one out."
            )
        for name, value in given.items():
            if value is not None:
                check_int(value, 1, f"adapter.{name}")

    def width_of(self, width: int) -> int:
        """Width of the bottleneck of features of a width.

        Raises:
            ValueError: If there would be none.
        """
        if self.bottleneck is not None:
            return self.bottleneck
        factor = 8 if self.reduction_factor is None else self.reduction_factor
        if factor > width:
            raise ValueError(
                f"adapter.reduction_factor={factor} leaves nothing of features of width {width}."
            )
        return width // factor


class SubLayerAdapter(Adapter):
    """Base class: ``y + s (g(y D + b_D) U + b_U)`` of sub-layers' outputs y.

    It is added before the sub-layer's dropout and residual. A subclass makes its parts, fills the
    sites by :meth:`fill` and says which projections a position has.

    Args:
        places (Places): The model's sites.
        chosen (SubLayerOptions): Its options.
        options (dict): The same as they stand in files.

    Raises:
        ValueError: If an option is outside its set, or the model has none of the sites.
    """

    def __init__(self, places: Places, chosen: SubLayerOptions, options: dict[str, Any]) -> None:
        super().__init__(places, options)
        self.chosen: Any = chosen
        sites = list(chosen.sites)
        if not chosen.cross_attention:
            sites = self._without_cross(sites)
        roles = None if chosen.roles is None else list(chosen.roles)
        self._slots, self.depth = choose(places, sites, roles, chosen.layers, self.method)
        self.positions = list(self._slots)
        if chosen.reads == "input":
            wrong = sorted({p.site for p in self.positions} - {"attn", "cross", "ffn"})
            if wrong:
                raise ValueError(
                    f"adapter.reads='input' is of sub-layers, which {wrong} in adapter.sites are "
                    "not: take them out, or write 'output'."
                )
        widths = {chosen.width_of(position.width) for position in self.positions}
        # In files: by one number, however it was said.
        one = min(widths) if len(widths) == 1 else None
        options["bottleneck"] = one
        options["reduction_factor"] = None if one else chosen.reduction_factor or 8
        options["roles"] = sorted({p.role for p in self.positions}, key=places.roles().index)

    def _without_cross(self, sites: list[str]) -> list[str]:
        kept = [site for site in sites if site.rpartition(".")[2] != "cross"]
        has = any(name.endswith(".cross") for name in self.places.slots)
        if kept == sites or not has:
            raise ValueError(
                "adapter.cross_attention=False takes 'cross' out of adapter.sites, which "
                f"{'this model' if not has else sites} does not have: leave it out."
            )
        return kept

    def bottleneck_of(self, position: Position) -> tuple[int, int]:
        """Width of a position, and that of its bottleneck."""
        return position.width, self.chosen.width_of(position.width)

    def fill(self) -> None:
        """Put the terms into their sites."""
        for position, slot in self._slots.items():
            slot.fill(partial(self.act, position), reads=self.chosen.reads)

    def projections(self, position: Position) -> tuple[Projection, Projection]:
        """What projects down and up at a position now."""
        raise NotImplementedError

    def bottleneck(self, position: Position, x: torch.Tensor) -> torch.Tensor:
        """``g(x D + b_D) U + b_U`` of features (..., d)."""
        down, up = self.projections(position)
        return up(ACTIVATIONS[self.chosen.activation](down(x)))

    def act(self, position: Position, x: torch.Tensor) -> torch.Tensor:
        """The term (..., d) of a position."""
        term = self.bottleneck(position, x)
        return term if self.chosen.scale == 1 else term * self.chosen.scale

    def normalise(self, option: str, value: Any) -> Any:
        """See :meth:`Adapter.normalise`."""
        if option == "activation":
            return ALIASES.get(value, value)
        if option == "roles" and value is None:
            value = sorted({position.role for position in self.positions})
        return super().normalise(option, value)
