"""Mix-and-match adapter (He et al. 2022): small prefixes in attention, parallel bottlenecks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from uniadapter.registry import MODELS

from ..sites import Places, Slot
from .base import Adapter, check_choice, check_int, parse_layers
from .bottleneck import Bottleneck


class Prefix(nn.Module):
    """Keys and values (l, d) for every layer of one kind of attention.

    Either a table, normal of standard deviation 0.02 at the start; or, with ``hidden``, a
    perceptron of an embedding (l, d), ``W2 tanh(W1 E)``, as prefix tuning trains it.

    Args:
        layers (list[int]): Numbers of the layers.
        width (int): Width d.
        length (int): Keys l.
        hidden (int): Inner width of the perceptron; 0: a table.
    """

    def __init__(self, layers: list[int], width: int, length: int, hidden: int) -> None:
        super().__init__()
        self.places = {layer: place for place, layer in enumerate(layers)}
        self.width = width
        self.table: nn.Parameter | None = None
        if hidden:
            self.embedding = nn.Embedding(length, width)
            self.inner = nn.Linear(width, hidden)
            self.outer = nn.Linear(hidden, len(layers) * 2 * width)
        else:
            self.table = nn.Parameter(torch.randn(len(layers), 2, length, width) * 0.02)

    def forward(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values (l, d) of a layer."""
        place = self.places[layer]
        if self.table is not None:
            key, value = self.table[place]
            return key, value
        own = slice(place * 2 * self.width, (place + 1) * 2 * self.width)
        hidden = torch.tanh(self.inner(self.embedding.weight))
        both = F.linear(hidden, self.outer.weight[own], self.outer.bias[own])
        return both[:, : self.width], both[:, self.width :]


@dataclass(frozen=True)
class MAMOptions:
    """What a config may say of a :class:`MAM`.

    Args:
        prefix (int): Keys and values in front of those of every attention. Defaults to 30.
        hidden (int): Inner width of the perceptron that gives them, 800 in the original's script.
            Defaults to 0: they are trained directly, as many as are used.
        share_text (bool): Self-attention of a run that reads media has the prefix of the texts' own
            run, as both use its weights. Defaults to True; of no effect where one of them is not
            run.
        bottleneck (int): Width r beside the feed-forward networks. Defaults to 512.
        scale (float): Factor of these terms. Defaults to 4.
        dropout (float): Dropout of the bottlenecks' activations. Defaults to 0.
        roles (list[str], optional): Runs that are adapted. Defaults to None, all.
        layers (list[int] | str, optional): Adapted layers, counted from 1. Defaults to None, all.
    """

    prefix: int = 30
    hidden: int = 0
    share_text: bool = True
    bottleneck: int = 512
    scale: float = 4.0
    dropout: float = 0.0
    roles: Iterable[str] | None = None
    layers: Iterable[int] | str | None = None

    def __post_init__(self) -> None:
        for key, least in (("prefix", 1), ("hidden", 0), ("bottleneck", 1)):
            check_int(getattr(self, key), least, f"adapter.{key}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"adapter.dropout={self.dropout} must be in [0, 1).")
        for key in ("roles", "layers"):
            value = getattr(self, key)
            if value is not None and not isinstance(value, str):
                object.__setattr__(self, key, list(value))


@MODELS.register_module()
class MAM(Adapter):
    """Prefixes of every attention and a scaled parallel bottleneck beside every FFN.

    One set of prefixes for each kind of attention: visual self, text self (with that of the
    cross-modal run, see ``share_text``), cross, and a decoder's. Bottlenecks are those of
    ``BottleneckAdapter`` with ``preset='parallel'``, one a layer and role. Step 0 is not the frozen
    model, as every token attends to the prefix. A tower whose attention nobody can reach into (one
    that is hosted by a chart) is refused.

    Args:
        places (Places): The model's sites.
        **options: Those of :class:`MAMOptions`.

    Raises:
        ValueError: If an option is outside its set, or a role has no place for keys.
    """

    Options = MAMOptions

    def __init__(self, places: Places, **options: Any) -> None:
        chosen = MAMOptions(**options)
        roles = places.roles() if chosen.roles is None else list(chosen.roles)
        for role in roles:
            check_choice(role, places.roles(), "adapter.roles")
        if not roles or len(set(roles)) != len(roles):
            raise ValueError(f"adapter.roles={roles}: name at least one, each once.")
        super().__init__(places, {**asdict(chosen), "roles": roles})
        found = {
            role: places.need(f"{role}.keys", "MAM") for role in places.roles() if role in roles
        }
        self.depth = 1 + max(index for slots in found.values() for index in slots)
        self._numbers = parse_layers(chosen.layers, self.depth, "adapter.layers")
        self.prefixes, self.layers = nn.ModuleDict(), nn.ModuleDict()
        for role in found:
            for site in ("keys", "cross_keys"):
                self._prefix(role, site)
            self._bottlenecks(role)

    def _chosen(self, address: str) -> dict[int, Slot]:
        slots = self.places.of(address)
        return {index: slot for index, slot in slots.items() if index in self._numbers}

    def _prefix(self, role: str, site: str) -> None:
        slots, name = self._chosen(f"{role}.{site}"), f"{role}_{site}"
        if not slots:
            return
        texts: Any = dict(self.prefixes.items()).get("text_keys")
        shared = self.options["share_text"] and name == "fusion_keys" and texts is not None
        if shared and set(slots) <= set(texts.places):
            name = "text_keys"
        else:
            width = next(iter(slots.values())).dim
            sizes = self.options["prefix"], self.options["hidden"]
            self.prefixes[name] = Prefix(sorted(slots), width, *sizes)
        for index, slot in slots.items():
            slot.fill(partial(self.prefixes[name], index))

    def _bottlenecks(self, role: str) -> None:
        for index, slot in self._chosen(f"{role}.ffn").items():
            if str(index) not in self.layers:
                self.layers[str(index)] = nn.ModuleDict()
            group: Any = self.layers[str(index)]
            options = self.options
            group[role] = Bottleneck(
                slot.dim, options["bottleneck"], "relu", options["scale"], options["dropout"]
            )
            slot.fill(group[role], reads="input")

    def components(self) -> dict[str, list[nn.Parameter]]:
        """Parameters of the prefixes (``adapter``) and of the bottlenecks (``parallel``)."""
        return {
            "adapter": list(self.prefixes.parameters()),
            "parallel": list(self.layers.parameters()),
        }
