"""Layers of BEiT-3: pre-LN, with a norm inside either sub-layer."""

from __future__ import annotations

from typing import Any

import torch
from mmcv.cnn.bricks import DropPath
from torch import nn
from torch.nn import functional as F

from ...execution import Want
from ...sites import Grid, LayerSites, Slot
from ...slots import AddedTokens
from ..base import run_layer
from ..side_by_side import SideTower, check_heads

_EPS = 1e-5


class Beit3Attention(nn.Module):
    """Self-attention whose heads' result is normalised before the output projection.

    Args:
        width (int): Width D.
        num_heads (int): Attention heads.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=_EPS)
        self.proj = nn.Linear(width, width)

    def forward(
        self, x: torch.Tensor, at: LayerSites, mask: torch.Tensor | None, want: Want
    ) -> torch.Tensor:
        """Attend within a row.

        Args:
            x (Tensor): Tokens (B, L, D).
            at (LayerSites): Whose keys and values are put in front, whose term is added behind.
            mask (Tensor, optional): (B, L) bool, False where a token is padding.
            want (str): ``'first'`` computes the first token's output alone.

        Returns:
            Tensor: (B, L, D), or (B, 1, D) of the first tokens.
        """
        asked = x[:, :1] if want == "first" else x
        query, key, value = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in (self.query(asked), self.key(x), self.value(x))
        )
        seen = None if mask is None else mask[:, None, None]
        key, value, seen = at.keys.extend(key, value, seen)
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        out = self.proj(self.norm(out.transpose(1, 2).flatten(2)))
        return at.attn.add(out, out, asked)


class Beit3FeedForward(nn.Module):
    """Feed-forward network with a norm behind its activation.

    Args:
        width (int): Width D.
        hidden (int): Width of the inner layer.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.norm = nn.LayerNorm(hidden, eps=_EPS)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor, site: Slot) -> torch.Tensor:
        """Return what is added to the stream for ``x`` (B, L, D), with the site's term."""
        out = self.fc2(self.norm(F.gelu(self.fc1(x))))
        return site.add(out, out, x)


class Beit3Layer(nn.Module):
    """Pre-LN layer ``x1 = x + attn(ln1 x)``, ``x1 + ffn(ln2 x1) + after_self(x1)``.

    Args:
        width (int): Width D.
        num_heads (int): Attention heads.
        hidden (int): Inner width of the feed-forward network.
        drop_path (float): Probability that a sub-layer is left out of a row in training.
    """

    def __init__(self, width: int, num_heads: int, hidden: int, drop_path: float) -> None:
        super().__init__()
        self.ln1 = nn.LayerNorm(width, eps=_EPS)
        self.attn = Beit3Attention(width, num_heads)
        self.ln2 = nn.LayerNorm(width, eps=_EPS)
        self.ffn = Beit3FeedForward(width, hidden)
        self.drop_path = DropPath(drop_path)
        names = ("tokens", "into", "keys", "attn", "mid", "ffn", "out", "after_self")
        self.at = LayerSites.of(width, *names)

    def forward(
        self,
        x: torch.Tensor,
        mask: torch.Tensor | None = None,
        grid: Grid | None = None,
        want: Want = "all",
    ) -> torch.Tensor:
        """Run the layer.

        Args:
            x (Tensor): Tokens (B, L, D).
            mask (Tensor, optional): (B, L) bool, False where a token is padding.
            grid (Grid, optional): How the tokens of images lie.
            want (str): ``'first'`` computes the first token alone. Defaults to ``'all'``.

        Returns:
            Tensor: (B, L, D), or (B, 1, D) of the first tokens.
        """
        at = self.at
        x = at.into.add(x, x, grid=grid)
        attended = self.attn(self.ln1(x), at, mask, want)
        x = (x[:, :1] if want == "first" else x) + self.drop_path(attended)
        x = at.mid.add(x, x, grid=grid)
        out = x + self.drop_path(self.ffn(self.ln2(x), at.ffn))
        out = at.after_self.add(out, x)
        return at.out.add(out, out)


class Beit3Tower(SideTower):
    """What both towers are made of: layers and a final norm.

    Args:
        width (int): Width D.
        num_layers (int): Layers.
        num_heads (int): Attention heads.
        hidden (int): Inner width of the feed-forward networks.
        drop_path_rate (float): Stochastic depth of the last layer, growing linearly from 0.
        grad_checkpointing (bool): Recompute each layer in the backward pass.
    """

    def __init__(
        self,
        width: int,
        num_layers: int,
        num_heads: int,
        hidden: int,
        drop_path_rate: float,
        grad_checkpointing: bool,
    ) -> None:
        super().__init__()
        check_heads(width, num_heads)
        rates = [drop_path_rate * i / max(num_layers - 1, 1) for i in range(num_layers)]
        self.layers: Any = nn.ModuleList(
            Beit3Layer(width, num_heads, hidden, rate) for rate in rates
        )
        self.norm = nn.LayerNorm(width, eps=_EPS)
        self.width = width
        self.num_layers = num_layers
        self.grad_checkpointing = grad_checkpointing

    def _init_random(self) -> None:
        """Truncated normal 0.02, so that a random tower is usable."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding | nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def layer_sites(self) -> list[tuple[int, LayerSites]]:
        """Sites of the layers with their numbers from 0."""
        return [(index, layer.at) for index, layer in enumerate(self.layers)]

    def _run(
        self,
        x: torch.Tensor,
        mask: torch.Tensor | None,
        grid: Grid | None,
        want: Want,
        added: AddedTokens,
    ) -> torch.Tensor:
        """All layers and the final norm; of the last layer what is wanted."""
        for index, layer in enumerate(self.layers):
            x, mask = added.enter(layer.at.tokens, x, mask)
            first = index == self.num_layers - 1 and layer.at.local()
            x = run_layer(self, layer, x, mask, added.grid(grid), want if first else "all")
        return self.norm(x[:, :1] if want == "first" else added.drop(x))
