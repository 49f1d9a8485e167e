"""The parts of a UniAdapter: the bottlenecks of one layer, and the released key/value pair."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .uniadapter_options import UniAdapterOptions


class LayerAdapter(nn.Module):
    """The bottlenecks of one layer index, for every modality that has such a layer.

    Args:
        widths (dict[str, int]): Width d by modality (``'visual'``, ``'text'``, ``'cross'``, and
            ``'query'`` for a query residual with weights of its own).
        options (UniAdapterOptions): Bottleneck, scale, sharing, textual branch, variant, dropout.
        shares (bool): Whether this layer shares projections as the options say, or none.
            Defaults to True.
        idle (Collection[str]): Uses that never run: they have no modules, but for the textual
            up-projection that the cross-modal use adds. Defaults to none.
        by_width (bool): Name what is shared by its width, ``shared768``, also in a layer whose uses
            are all of one: the adapted towers are of several, and a name says the same in every
            layer. Defaults to False, ``shared`` in a layer of one width.
    """

    def __init__(
        self,
        widths: dict[str, int],
        options: UniAdapterOptions,
        shares: bool = True,
        idle: Collection[str] = (),
        by_width: bool = False,
    ) -> None:
        super().__init__()
        sharing = options.sharing if shares else "none"
        scale = float(options.scale)
        self.scale = nn.Parameter(torch.tensor(scale)) if options.learnable_scale else scale
        self.textual_branch = options.textual_branch and {"text", "cross"} <= set(widths)
        self.dropout = nn.Dropout(options.dropout)
        unique = set(widths.values())
        # Towers of other widths can't share.
        names = {w: f"shared{w}" if by_width or len(unique) > 1 else "shared" for w in unique}
        # What earlier versions called "shared" in this layer, whatever the others' widths were.
        self._was_shared = names[min(unique)] if by_width and len(unique) == 1 else None
        self._down_of, self._up_of = {}, {}
        self.down: Any = nn.ModuleDict()
        self.up: Any = nn.ModuleDict()
        for use, width in widths.items():
            # A query residual with weights of its own shares nothing: it is one more adapter
            # (paper table 13).
            can_share = use != "query"
            shared = names[width]
            down = shared if can_share and sharing in ("down", "down+up") else use
            up = shared if can_share and sharing in ("up", "down+up") else use
            runs = use not in idle
            if down not in self.down and runs:
                self.down[down] = nn.Linear(width, options.bottleneck)
            added = use == "text" and self.textual_branch and "cross" not in idle
            if up not in self.up and (runs or added):
                self.up[up] = nn.Linear(options.bottleneck, width)
            self._down_of[use], self._up_of[use] = down, up
        self._norm_of = {use: names[width] for use, width in widths.items()}
        self.norm_before = nn.ModuleDict()
        self.norm_cross: nn.Module | None = None
        if options.variant == "released":
            for width in sorted({width for use, width in widths.items() if use not in idle}):
                self.norm_before[names[width]] = nn.LayerNorm(width)
            if "cross" in widths and "cross" not in idle:
                self.norm_cross = nn.LayerNorm(widths["cross"])
        self._init_zero()

    def _init_zero(self) -> None:
        """Kaiming-normal down, zero up and biases: step 0 is the frozen model exactly."""
        for down in self.down.values():
            nn.init.kaiming_normal_(down.weight, nonlinearity="relu")
            nn.init.zeros_(down.bias)
        for up in self.up.values():
            nn.init.zeros_(up.weight)
            nn.init.zeros_(up.bias)

    def former_names(self) -> dict[str, str]:
        """Names of parameters by what files of earlier versions call them, where that differs."""
        if self._was_shared is None:
            return {}
        names = [name for name, _ in self.named_parameters() if f".{self._was_shared}." in name]
        return {name.replace(self._was_shared, "shared"): name for name in names}

    def forward(self, x: torch.Tensor, use: str) -> torch.Tensor:
        """Compute the term of one modality.

        Args:
            x (Tensor): Features (..., d).
            use (str): ``'visual'``, ``'text'``, ``'cross'`` or ``'query'``.

        Returns:
            Tensor: ``s * (relu(x Wd + bd) W + b)`` of shape (..., d), with ``W = Wt + Wc`` and
            ``b = bt + bc`` for the cross-modal use (paper eq. 5 and 6).
        """
        if self.norm_before:
            x = self.norm_before[self._norm_of[use]](x)
        hidden = self.dropout(F.relu(self.down[self._down_of[use]](x)))
        up = self.up[self._up_of[use]]
        weight, bias = up.weight, up.bias
        if use == "cross" and self.textual_branch:
            textual = self.up[self._up_of["text"]]
            weight, bias = weight + textual.weight, bias + textual.bias
        out = F.linear(hidden, weight, bias)
        if use == "cross" and self.norm_cross is not None:
            out = self.norm_cross(out)
        return out * self.scale


class LowRankPair(nn.Module):
    """The released code's low-rank terms of cross-attention's keys and values.

    Linear (d_in -> rank -> d_out, with biases), computed once from the states and added in every
    layer; each has a trained scale, 1 at the start.

    Args:
        in_width (int): Width of the states.
        out_width (int): Width of keys and values.
        rank (int): Bottleneck.
    """

    key: Any
    value: Any

    def __init__(self, in_width: int, out_width: int, rank: int) -> None:
        super().__init__()
        for name in ("key", "value"):
            down, up = nn.Linear(in_width, rank), nn.Linear(rank, out_width)
            nn.init.kaiming_normal_(down.weight, nonlinearity="linear")
            for tensor in (down.bias, up.weight, up.bias):
                nn.init.zeros_(tensor)
            self.add_module(name, nn.ModuleDict({"down": down, "up": up}))
        self.key_scale = nn.Parameter(torch.ones(1))
        self.value_scale = nn.Parameter(torch.ones(1))

    def forward(self, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the terms of keys and values, each (V, S, d_out), of ``states`` (V, S, d_in)."""
        key = self.key["up"](self.key["down"](states)) * self.key_scale
        value = self.value["up"](self.value["down"](states)) * self.value_scale
        return key, value
