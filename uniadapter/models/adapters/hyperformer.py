"""Hyperformer (Mahabadi et al. 2021): bottlenecks that a network generates from embeddings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from uniadapter.registry import MODELS

from ..sites import Places
from .base import check_choice, check_int
from .hypernet import BLOCKS, HyperNetwork
from .sharing import Position, check_axes, tasks_for
from .sub_layers import Projection, SubLayerAdapter, SubLayerOptions

VARIANTS = ("unique", "one")


@dataclass(frozen=True)
class HyperformerOptions(SubLayerOptions):
    """What a config may say of a :class:`Hyperformer`, beside :class:`.sub_layers.SubLayerOptions`.

    Args:
        share (list[str]): ``['task']`` has one embedding for all tasks. Defaults to none: one for
            each.
        variant (str): ``'unique'``: generators for each type of block; ``'one'``: one set, which
            also reads an embedding of the type. Defaults to ``'unique'``.
        latent (int): Width p of what the generators read. Defaults to 8.
        hidden (int): Inner width of the network. Defaults to 128.
        embedding (int): Width of embeddings. Defaults to 512.
        linear_std (float): Of linear layers at the start. Defaults to 0.02; 0.01 in the published
            T5.
        embedding_std (float): Of embeddings of layers and types at the start. Defaults to 0.02; in
            the published T5 1. That of tasks is 1.
    """

    share: Iterable[str] = ()
    variant: str = "unique"
    latent: int = 8
    hidden: int = 128
    embedding: int = 512
    linear_std: float = 0.02
    embedding_std: float = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "share", check_axes(self.share, "adapter.share", ("task",)))
        check_choice(self.variant, VARIANTS, "adapter.variant")
        for name in ("latent", "hidden", "embedding"):
            check_int(getattr(self, name), 1, f"adapter.{name}")
        for name in ("linear_std", "embedding_std"):
            if not getattr(self, name) > 0:
                raise ValueError(f"adapter.{name}={getattr(self, name)!r} must be above 0.")


@MODELS.register_module()
class Hyperformer(SubLayerAdapter):
    """Bottlenecks behind sub-layers, generated from embeddings of task, layer and type of block.

    Every run (role) has a network of its own (:class:`.hypernet.HyperNetwork`), tasks have one
    embedding for all of them. Step 0 is not the frozen model.

    Args:
        places (Places): The model's sites.
        **options: Those of :class:`HyperformerOptions`.

    Raises:
        ValueError: If an option is outside its set, layers of a run differ in width, or the model
            has none of the sites, or no tasks and ``share`` is empty.
    """

    Options = HyperformerOptions

    def __init__(self, places: Places, **options: Any) -> None:
        chosen = HyperformerOptions(**options)
        super().__init__(places, chosen, dict(vars(chosen)))
        for position in self.positions:
            check_choice(position.site, sorted(BLOCKS), "adapter.sites")
        self._tasks = tasks_for(places, list(chosen.share), self.method)
        names = ("shared",) if self._tasks is None else self._tasks.names
        self.tasks = nn.ParameterDict(
            {name: nn.Parameter(torch.randn(chosen.embedding)) for name in names}
        )
        self.networks = nn.ModuleDict({role: self._network(role) for role in self.options["roles"]})
        self.fill()

    def _network(self, role: str) -> HyperNetwork:
        chosen = self.chosen
        own = [position for position in self.positions if position.role == role]
        sizes = {self.bottleneck_of(position) for position in own}
        if len(sizes) > 1:
            raise ValueError(
                f"Hyperformer generates projections of one width for a run, but layers of {role!r} "
                f"have the widths {sorted({p.width for p in own})}: choose adapter.roles."
            )
        sites = {position.site for position in own}
        network = HyperNetwork(
            sorted({position.layer for position in own}),
            [block for block in BLOCKS if block in sites],
            sizes.pop(),
            chosen.embedding,
            chosen.hidden,
            chosen.latent,
            chosen.variant == "unique",
        )
        network.reset(chosen.linear_std, chosen.embedding_std)
        return network

    def projections(self, position: Position) -> tuple[Projection, Projection]:
        """See :meth:`SubLayerAdapter.projections`."""
        task = "shared" if self._tasks is None else self._tasks.need(self.method)
        network: Any = self.networks[position.role]
        pair = network(self.tasks[task], position.layer, position.site)
        return pair.project_down, pair.project_up
