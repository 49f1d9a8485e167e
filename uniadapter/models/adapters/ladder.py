"""Ladder side-tuning (LST, Sung et al. 2022): a narrow tower beside the frozen one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from uniadapter.registry import MODELS

from ..sites import Places
from ..taps import Call, Read, Taps
from .base import Adapter, check_choice, check_int, parse_layers


class _Attention(nn.Module):
    """Multi-head attention with its projections; a text asks, itself or what it reads answers."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(
        self, x: torch.Tensor, states: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Attend from (B, L, h) to states (B or 1, S, h), of which a mask (B or 1, S) is seen."""
        states = states.expand(x.shape[0], -1, -1)
        query, key, value = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in (self.query(x), self.key(states), self.value(states))
        )
        seen = None if mask is None else mask.bool().expand(x.shape[0], -1)[:, None, None]
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        return self.out(out.transpose(1, 2).flatten(2))


class SideBlock(nn.Module):
    """A transformer layer of the side network: ``12 h^2 + 13 h`` parameters, more where it reads.

    Args:
        width (int): Width h.
        num_heads (int): Attention heads.
        reads (bool): Whether there is a cross-attention.
        norm_first (bool): Norms in front of sub-layers rather than behind residuals.
    """

    def __init__(self, width: int, num_heads: int, reads: bool, norm_first: bool) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.attention = _Attention(width, num_heads)
        self.norm1 = nn.LayerNorm(width)
        self.cross: _Attention | None = _Attention(width, num_heads) if reads else None
        self.norm_cross = nn.LayerNorm(width) if reads else None
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm2 = nn.LayerNorm(width)

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor | None, read: Read | None
    ) -> torch.Tensor:
        """Run the layer on (B, L, h); ``read`` is what the texts read, of width h."""
        x = self._around(self.norm1, x, lambda y: self.attention(y, y, mask))
        if self.cross is not None and self.norm_cross is not None and read is not None:
            cross, seen = self.cross, read
            x = self._around(self.norm_cross, x, lambda y: cross(y, seen.states, seen.mask))
        return self._around(self.norm2, x, lambda y: self.fc2(F.gelu(self.fc1(y))))

    def _around(self, norm: nn.LayerNorm, x: torch.Tensor, function: Any) -> torch.Tensor:
        return x + function(norm(x)) if self.norm_first else norm(x + function(x))


class SideTower(nn.Module):
    """The ladder beside one run of a tower.

    ``s = D0(e)``; for every layer ``s = block(mu s + (1 - mu) D(h))`` with ``mu = sigmoid(g / T)``,
    a gate g of its own, 0 at the start; at the end ``U(s)``. e is what the first layer of the
    frozen tower reads, h what each layer gives.

    Args:
        widths (list[int]): Width of the frozen states behind every layer.
        chosen (list[int]): Layers that the ladder has a block for, from 0.
        options (LadderOptions): The method's options.
        reads (int): Width of what texts read by cross-attention; 0 where they read nothing.
    """

    def __init__(
        self, widths: list[int], chosen: list[int], options: LadderOptions, reads: int
    ) -> None:
        super().__init__()
        width = widths[-1] // options.reduction
        self.chosen, self.temperature = chosen, options.temperature
        taps = [widths[0], *(widths[index] for index in chosen)]
        self.down = nn.ModuleList(nn.Linear(size, width, options.bias) for size in taps)
        self.read = nn.Linear(reads, width, options.bias) if reads else None
        self.blocks = nn.ModuleList(
            SideBlock(width, options.num_heads, reads > 0, options.norm_first) for _ in chosen
        )
        self.gates = nn.Parameter(torch.zeros(len(chosen)))
        self.up = nn.Linear(width, widths[-1], options.bias)

    def forward(self, taps: Taps, read: Read | None) -> torch.Tensor:
        """States (B, L, D) in the place of the frozen tower's.

        Args:
            taps (Taps): Its states.
            read (Read, optional): What the texts read.
        """
        if self.read is not None and read is not None:
            read = Read(self.read(read.states), read.mask)
        side = self.down[0](taps.hidden[0])
        rungs = zip(self.chosen, self.down[1:], self.blocks, self.gates, strict=True)
        for index, down, block, gate in rungs:
            mu = torch.sigmoid(gate / self.temperature)
            side = block(mu * side + (1 - mu) * down(taps.hidden[index + 1]), taps.mask, read)
        return self.up(side)


@dataclass(frozen=True)
class LadderOptions:
    """What a config may say of a :class:`Ladder`.

    Args:
        reduction (int): A side tower is so many times narrower. Defaults to 4.
        num_heads (int): Attention heads of a side block, as many as the towers have. Defaults to
            12.
        temperature (float): T of the gates. Defaults to 0.1.
        norm_first (bool): Blocks with norms in front, as a ViT's. Defaults to False, as BERT's.
        bias (bool): Whether the projections between the towers have biases. Defaults to True.
        roles (list[str], optional): Runs that have a ladder. Defaults to None: all but a decoder.
        layers (list[int] | str, optional): Layers with a rung, counted from 1. Defaults to None,
            all.
    """

    reduction: int = 4
    num_heads: int = 12
    temperature: float = 0.1
    norm_first: bool = False
    bias: bool = True
    roles: Iterable[str] | None = None
    layers: Iterable[int] | str | None = None

    def __post_init__(self) -> None:
        for key in ("reduction", "num_heads"):
            check_int(getattr(self, key), 1, f"adapter.{key}")
        if not self.temperature > 0:
            raise ValueError(f"adapter.temperature={self.temperature} must be above 0.")
        for key in ("roles", "layers"):
            value = getattr(self, key)
            if value is not None and not isinstance(value, str):
                object.__setattr__(self, key, list(value))


@MODELS.register_module()
class Ladder(Adapter):
    """A side tower of transformer blocks that reads the frozen tower's taps through gates.

    No gradient enters the frozen towers. The side tower's output takes the place of theirs, so step
    0 is not the frozen model. Where texts read a medium they read what its role gives, the visual
    ladder's output, through one more projection. Blocks start with torch's own initial weights; the
    original may also take them from the pruned backbone.

    Args:
        places (Places): The model's sites.
        **options: Those of :class:`LadderOptions`.

    Raises:
        ValueError: If an option is outside its set, or the side width is no multiple of the heads.
    """

    Options = LadderOptions

    def __init__(self, places: Places, **options: Any) -> None:
        chosen = LadderOptions(**options)
        able = [role for role in places.roles() if role != "decoder"]
        roles = able if chosen.roles is None else list(chosen.roles)
        for role in roles:
            check_choice(role, able, "adapter.roles")
            if role in places.maps:
                raise ValueError(
                    f"Ladder reads tokens, and the {role} tower's layers leave maps of several "
                    "sizes: name other adapter.roles, or set adapter.type='UniPT'."
                )
        if not roles or len(set(roles)) != len(roles):
            raise ValueError(f"adapter.roles={roles}: name at least one, each once.")
        super().__init__(places, {**asdict(chosen), "roles": roles})
        self.tapped = tuple(role for role in able if role in roles)
        self.depth = max(len(places.widths(role)) for role in roles)
        numbers = parse_layers(chosen.layers, self.depth, "adapter.layers")
        self.sides = nn.ModuleDict()
        for role in self.tapped:
            widths = places.widths(role)
            if widths[-1] % (chosen.reduction * chosen.num_heads):
                raise ValueError(
                    f"{widths[-1]} features of {role} are no multiple of adapter.reduction="
                    f"{chosen.reduction} times adapter.num_heads={chosen.num_heads}."
                )
            reads = places.need("fusion.kv", "Ladder")[0].dim if role == "fusion" else 0
            own = [index for index in numbers if index < len(widths)]
            self.sides[role] = SideTower(widths, own, chosen, reads)

    def run(self, role: str, tower: Any, call: Call) -> torch.Tensor:
        """See :meth:`Adapter.run`."""
        return self.sides[role](call.taps(), call.reads())
