"""VL-Adapter (Sung et al. 2022): bottlenecks of several tasks, with what they share as options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from uniadapter.registry import MODELS

from ..sites import Places
from .base import check_choice
from .projections import Kind, parse_projection
from .sharing import SIDES, Bank, Position, parse_share, tasks_for
from .sub_layers import Projection, SubLayerAdapter, SubLayerOptions


@dataclass(frozen=True)
class VLAdapterOptions(SubLayerOptions):
    """What a config may say of a :class:`VLAdapter`, beside :class:`.sub_layers.SubLayerOptions`.

    Args:
        share (dict, optional): Axes that down- and up-projections are shared over, see
            :mod:`.sharing`. Defaults to None: ``dict(down=['task'], up=['task'])``.
        projection (str | dict): Kind of the projections: ``'linear'``, ``dict(type='phm', k=2,
            rank=None, rule='own')`` or ``dict(type='low_rank', rank=1)``. Defaults to
            ``'linear'``.
        init (str, optional): ``'normal'`` (of 0.02), ``'torch'``, ``'zero_up'`` or ``'xavier'`` of
            linear projections, the last two of the others. Defaults to None: ``'normal'``, of the
            others ``'xavier'``.
        pre_norm (bool): A LayerNorm in front of the down-projection. Defaults to False.
        post_norm (bool): One behind the up-projection. Defaults to False.
    """

    share: Mapping[str, Iterable[str]] | None = None
    projection: str | Mapping[str, Any] = "linear"
    init: str | None = None
    pre_norm: bool = False
    post_norm: bool = False


@MODELS.register_module()
class VLAdapter(SubLayerAdapter):
    """A bottleneck behind every attention and feed-forward network (paper section 4.1).

    ``y + U g(D y + b_D) + b_U`` of a sub-layer's output y, before its dropout and residual. What
    tasks have apart is said by ``share``: nothing (single adapter, the default), all (multiple),
    or the down-projections alone, ``dict(down=[], up=['task'])`` (half-shared). With projections of
    kind ``'phm'`` it is Compacter (Mahabadi et al. 2021). The published runs train the LayerNorms
    of the language model as well, ``model.train_norms=True``. Step 0 is not the frozen model,
    unless ``init='zero_up'``.

    Args:
        places (Places): The model's sites.
        **options: Those of :class:`VLAdapterOptions`.

    Raises:
        ValueError: If an option is outside its set, the model has none of the sites, or
            projections are kept apart by tasks that it does not have.
    """

    Options = VLAdapterOptions

    def __init__(self, places: Places, **options: Any) -> None:
        chosen = VLAdapterOptions(**options)
        kind, projection = parse_projection(chosen.projection)
        init = kind.inits[0] if chosen.init is None else chosen.init
        check_choice(init, kind.inits, f"adapter.init of {projection['type']} projections")
        share = parse_share(chosen.share)
        named = {**vars(chosen), "share": share, "projection": projection, "init": init}
        super().__init__(places, chosen, named)
        self.common = nn.ModuleDict(kind.common(self.positions, share))
        self.down, self.up = (self._bank(side, kind) for side in SIDES)
        self.pre_norm, self.post_norm = (
            Bank(self.positions, ["task"], lambda p: nn.LayerNorm(p.width)) if wanted else None
            for wanted in (chosen.pre_norm, chosen.post_norm)
        )
        self.fill()

    def _bank(self, side: str, kind: Kind) -> Bank:
        shared = self.options["share"][side]
        tasks = tasks_for(self.places, shared, self.method)
        make = partial(self._projection, side, kind)
        return Bank(self.positions, shared, make, tasks, self.method)

    def _projection(self, side: str, kind: Kind, position: Position) -> nn.Module:
        width, inner = self.bottleneck_of(position)
        sizes = (width, inner) if side == "down" else (inner, width)
        return kind.make(sizes, self.options["init"], side, position, dict(self.common.items()))

    def projections(self, position: Position) -> tuple[Projection, Projection]:
        """See :meth:`SubLayerAdapter.projections`."""
        return self.down.of_position(position), self.up.of_position(position)

    def bottleneck(self, position: Position, x: torch.Tensor) -> torch.Tensor:
        """See :meth:`SubLayerAdapter.bottleneck`; with the norms that the options ask for."""
        if self.pre_norm is not None:
            x = self.pre_norm.of_position(position)(x)
        term = super().bottleneck(position, x)
        return term if self.post_norm is None else self.post_norm.of_position(position)(term)

    def normalise(self, option: str, value: Any) -> Any:
        """See :meth:`Adapter.normalise`."""
        if option == "share":
            return parse_share(value)
        if option == "projection":
            return parse_projection(value)[1]
        if option == "init" and value is None:
            return parse_projection(self.options["projection"])[0].inits[0]
        return super().normalise(option, value)
