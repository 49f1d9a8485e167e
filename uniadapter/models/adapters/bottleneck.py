"""Bottlenecks at a sub-layer: adapters of Houlsby, of Pfeiffer and of He, and what lies between."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from uniadapter.registry import MODELS

from ..linears import Shifts, is_norm
from ..sites import Places, Slot
from .base import Adapter, check_choice, check_int, parse_layers

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "none": lambda x: x,
}
INITS = ("zero_up", "near_zero", "normal")
SITES = ("attn", "cross", "ffn", "out")

#: What each paper defines; an option that a config names is taken from there.
PRESETS: dict[str, dict[str, Any]] = {
    "houlsby": {
        "bottleneck": 64,
        "sites": ["attn", "cross", "ffn"],
        "reads": "output",
        "activation": "gelu_tanh",
        "scale": 1.0,
        "init": "near_zero",
        "train_norms": True,
    },
    "pfeiffer": {
        "bottleneck": 48,
        "sites": ["out"],
        "reads": "output",
        "activation": "relu",
        "scale": 1.0,
        "init": "normal",
        "train_norms": False,
    },
    "parallel": {
        "bottleneck": 512,
        "sites": ["ffn"],
        "reads": "input",
        "activation": "relu",
        "scale": 4.0,
        "init": "zero_up",
        "train_norms": False,
    },
}


def _in_order(values: Iterable[str], order: list[str]) -> list[str]:
    """Values in a given order; those that it lacks, to be refused, behind them."""
    return sorted(values, key=lambda value: order.index(value) if value in order else len(order))


class Bottleneck(nn.Module):
    """The term ``s (act(x Wd + bd) Wu + bu)``.

    Args:
        width (int): Width d.
        bottleneck (int): Width r.
        activation (str): A name of :data:`ACTIVATIONS`.
        scale (float): Factor s, of the bias of the up-projection too.
        dropout (float): Dropout behind the activation.
        init (str): ``'zero_up'``: Kaiming-uniform down, zero up (He et al.'s, LoRA's); or
            ``'near_zero'``: truncated normal of standard deviation 1e-3 (Houlsby et al.'s); or
            ``'normal'`` of 0.02 (the adapters library's).
    """

    def __init__(
        self,
        width: int,
        bottleneck: int,
        activation: str = "relu",
        scale: float = 1.0,
        dropout: float = 0.0,
        init: str = "zero_up",
    ) -> None:
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        self.activation = activation
        self.scale = scale
        self.dropout = nn.Dropout(dropout)
        for linear in (self.down, self.up):
            if init == "near_zero":
                nn.init.trunc_normal_(linear.weight, std=1e-3, a=-2e-3, b=2e-3)
            elif init == "normal":
                nn.init.normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)
        if init == "zero_up":
            nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
            nn.init.zeros_(self.up.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The term (..., d) of features (..., d)."""
        hidden = self.dropout(ACTIVATIONS[self.activation](self.down(x)))
        return self.up(hidden) * self.scale


@dataclass(frozen=True)
class BottleneckOptions:
    """What a config may say of a :class:`BottleneckAdapter`; None leaves it to the preset.

    Args:
        bottleneck (int, optional): Width r. Defaults to 64 (houlsby), 48 (pfeiffer) or 512
            (parallel).
        sites (list[str], optional): Any of ``'attn'``, ``'cross'``, ``'ffn'`` and ``'out'``, where
            a role has them. Defaults to the first three (houlsby), ``['out']`` (pfeiffer) or
            ``['ffn']`` (parallel).
        reads (str, optional): ``'output'`` of the sub-layer (sequential) or its ``'input'``
            (parallel).
        activation (str, optional): A name of :data:`ACTIVATIONS`.
        scale (float, optional): Factor s. Defaults to 1, 4 for parallel.
        init (str, optional): See :class:`Bottleneck`.
        train_norms (bool, optional): Train the towers' LayerNorms too. Defaults to True for
            houlsby.
        dropout (float): Dropout behind the activation. Defaults to 0.
        roles (list[str], optional): Runs that are adapted, such as ``['visual', 'text']``. Defaults
            to None, all.
        layers (list[int] | str, optional): Adapted layers, counted from 1. Defaults to None, all.
        tied (bool): One bottleneck for all sites of a layer and role. Defaults to False.
        share_text (bool): A role that reads media uses the bottlenecks of the texts' own run where
            both have the site, as both use one feed-forward network. Defaults to False.
    """

    bottleneck: int | None = None
    sites: Iterable[str] | None = None
    reads: str | None = None
    activation: str | None = None
    scale: float | None = None
    init: str | None = None
    train_norms: bool | None = None
    dropout: float = 0.0
    roles: Iterable[str] | None = None
    layers: Iterable[int] | str | None = None
    tied: bool = False
    share_text: bool = False

    def __post_init__(self) -> None:
        for name in ("sites", "roles", "layers"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                object.__setattr__(self, name, list(value))


@MODELS.register_module()
class BottleneckAdapter(Adapter):
    """A bottleneck at sub-layers of every layer and role.

    ``preset='houlsby'`` (Houlsby et al. 2019, as their code defines it): ``z + A(z)`` of the output
    z of every attention and feed-forward network, before the residual and the norm, and the
    towers' LayerNorms trained. A cross-attention has a third one. ``preset='pfeiffer'`` (Pfeiffer
    et al. 2021, as the adapters library has it): one a layer, of the layer's output y, added inside
    its last norm, ``LN(h + z + A(LN(h + z)))``; where norms come first there is none behind, and it
    is ``y + A(y)``. ``preset='parallel'`` (He et al.
    2022, section 3): ``s (relu(x Wd) Wu)`` of the feed-forward network's own input, added to its
    output inside the norm. UniAdapter adds its terms outside BERT's norm, see
    ``docs/adapters.md``.

    Terms are added before the sub-layer's dropout, which the original of Houlsby has in front of
    the adapter, that of He behind the feed-forward network only; without dropout all are equal.

    Args:
        places (Places): The model's sites.
        preset (str): What further options are by default, see :data:`PRESETS`.
        **options: Those of :class:`BottleneckOptions`.

    Raises:
        ValueError: If an option is outside its set, or the model has none of the sites.
    """

    Options = BottleneckOptions

    def __init__(self, places: Places, preset: str, **options: Any) -> None:
        check_choice(preset, PRESETS, "adapter.preset")
        given = vars(BottleneckOptions(**options))
        chosen = {name: value for name, value in given.items() if value is not None}
        # So they stand in files: with the preset's, roles in one order.
        options = {"preset": preset, **PRESETS[preset], **chosen}
        options["roles"] = _in_order(chosen.get("roles", places.roles()), places.roles())
        options["layers"] = given["layers"]
        super().__init__(places, options)
        self._check()
        self.layers = nn.ModuleDict()
        self._build()
        self.norms = None
        if options["train_norms"]:
            self.norms = Shifts(places.towers, ("weight", "bias"), is_norm)
            places.switches.append(self.norms)

    def _check(self) -> None:
        options = self.options
        check_choice(options["reads"], ("output", "input"), "adapter.reads")
        check_choice(options["activation"], ACTIVATIONS, "adapter.activation")
        check_choice(options["init"], INITS, "adapter.init")
        for key, choices in (("sites", SITES), ("roles", self.places.roles())):
            for value in options[key]:
                check_choice(value, choices, f"adapter.{key}")
            if not options[key] or len(set(options[key])) != len(options[key]):
                raise ValueError(f"adapter.{key}={options[key]}: name at least one, each once.")
        check_int(options["bottleneck"], 1, "adapter.bottleneck")
        if not 0 <= options["dropout"] < 1:
            raise ValueError(f"adapter.dropout={options['dropout']} must be in [0, 1).")

    def _chosen(self) -> dict[tuple[str, str], dict[int, Slot]]:
        """The slots that are filled, by role and site."""
        found = {
            (role, site): self.places.of(f"{role}.{site}")
            for role in self.options["roles"]
            for site in self.options["sites"]
        }
        for role in self.options["roles"]:
            if not any(found[role, site] for site in self.options["sites"]):
                raise ValueError(
                    f"BottleneckAdapter fills the sites {self.options['sites']} of the role "
                    f"{role!r}, of which this model has none: it has {sorted(self.places.slots)}. "
                    "Name other sites, or only the roles that have them."
                )
        self.depth = 1 + max(chain(*found.values()))
        numbers = parse_layers(self.options["layers"], self.depth, "adapter.layers")
        return {
            key: {index: slot for index, slot in slots.items() if index in numbers}
            for key, slots in found.items()
        }

    def _build(self) -> None:
        options, shared = self.options, False
        for (role, site), slots in self._chosen().items():
            for index, slot in slots.items():
                name, texts = (r if options["tied"] else f"{r}_{site}" for r in (role, "text"))
                if str(index) not in self.layers:
                    self.layers[str(index)] = nn.ModuleDict()
                group: Any = self.layers[str(index)]
                if options["share_text"] and role == "fusion" and texts in group:
                    name, shared = texts, True
                if name not in group:
                    group[name] = self._bottleneck(slot.dim)
                slot.fill(group[name], reads=options["reads"])
        if options["share_text"] and not shared:
            raise ValueError(
                "adapter.share_text=True, but no layer of this model is run both for texts alone "
                "and for texts that read media: set it to False."
            )

    def _bottleneck(self, width: int) -> Bottleneck:
        names = ("bottleneck", "activation", "scale", "dropout", "init")
        return Bottleneck(width, *(self.options[name] for name in names))
