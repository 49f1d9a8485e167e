"""The trained parts of a side network: projections down, across and up, and the crosser."""

from __future__ import annotations

import torch
from mmengine.dist import get_world_size
from torch import nn
from torch.nn import functional as F

from uniadapter.utils.dist import gather_with_grad, global_size

from .interaction import Guard, similarities, wide

NORMS = ("none", "layer", "batch")


class TokenBatchNorm(nn.BatchNorm1d):
    """Batch normalisation of the channels of tokens (..., C).

    Over tokens (B, H * W, C) it is the two-dimensional one over maps (B, C, H, W). In training the
    statistics are those of the tokens of all processes, as one process would have them.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise (..., C)."""
        tokens = x.flatten(0, -2)
        if not self.training or get_world_size() == 1:
            return super().forward(tokens).view_as(x)
        return self._over_all(wide(tokens)).to(x.dtype).view_as(x)

    def _over_all(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise this process's tokens (n, C) by the statistics of all."""
        count = global_size(len(x))
        mean = gather_with_grad(x.sum(0, keepdim=True)).sum(0) / count
        centred = x - mean
        var = gather_with_grad(centred.square().sum(0, keepdim=True)).sum(0) / count
        with torch.no_grad():
            unbiased = var * (count / max(count - 1, 1))
            for buffer, value in ((self.running_mean, mean), (self.running_var, unbiased)):
                if buffer is not None:
                    buffer.lerp_(value.to(buffer.dtype), self.momentum or 0.0)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        return centred * (var + self.eps).rsqrt() * self.weight + self.bias


def make_norm(kind: str, width: int) -> nn.Module:
    """A norm of ``width`` channels: ``'layer'``, ``'batch'`` or ``'none'`` (eps 1e-5)."""
    if kind == "none":
        return nn.Identity()
    return nn.LayerNorm(width) if kind == "layer" else TokenBatchNorm(width)


def linear(layer: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    """Apply a layer to states of any type: a frozen tower may be of half precision."""
    if not torch.is_autocast_enabled(x.device.type):
        x = x.to(layer.weight.dtype)
    return layer(x)


class Down(nn.Module):
    """psi: a tap, or the guide, to the side width.

    Args:
        in_dim (int): Width D of the states.
        out_dim (int): Side width h.
        rectify (bool): Linear(ReLU(x)) without a norm, rather than norm(Linear(x)).
        norm (str): The norm behind the linear.
    """

    def __init__(self, in_dim: int, out_dim: int, rectify: bool, norm: str) -> None:
        super().__init__()
        self.rectify = rectify
        self.linear = nn.Linear(in_dim, out_dim)
        self.norm = make_norm("none" if rectify else norm, out_dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Project (..., D) to (..., h)."""
        return self.norm(linear(self.linear, F.relu(x) if self.rectify else x))


class Projection(nn.Sequential):
    """P: norm(Linear(h, h)), or norm(Linear(d, h)(ReLU(Linear(h, d)))).

    Args:
        width (int): Side width h.
        norm (str): The norm at the end.
        hidden (int, optional): Width d of the perceptron. None: a single linear.
    """

    def __init__(self, width: int, norm: str, hidden: int | None = None) -> None:
        if hidden is None:
            layers: list[nn.Module] = [nn.Linear(width, width)]
        else:
            layers = [nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width)]
        super().__init__(*layers, make_norm(norm, width))


class Up(nn.Module):
    """U: the side width to that of whoever reads the output.

    Args:
        width (int): Side width h.
        out_dim (int): Width e.
        rectify (bool): Put a ReLU in front.
        norm (bool): Put a LayerNorm behind.
        zero (bool): Start at zero, so that what the output is added to stays as it was: the linear,
            or, where there is one, the norm's weight, since a norm makes a unit of the smallest
            number.
    """

    def __init__(self, width: int, out_dim: int, rectify: bool, norm: bool, zero: bool) -> None:
        super().__init__()
        self.rectify, self.zero = rectify, zero
        self.linear = nn.Linear(width, out_dim)
        self.norm = make_norm("layer" if norm else "none", out_dim)

    def reset(self) -> None:
        """Zero what ends it where that is its start."""
        last = self.norm if isinstance(self.norm, nn.LayerNorm) else self.linear
        if self.zero:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Project (..., h) to (..., e)."""
        return self.norm(linear(self.linear, F.relu(x) if self.rectify else x))


class Crosser(nn.Module):
    """Lets a decoder's tap read the encoder's side output before the guide reads the tap.

    ``T + LN(Linear(A / |A|_1 mem))`` with ``A = relu((T mem^T) * m)``: an interaction as that of
    guide and tap, without its residual.

    Args:
        width (int): Side width h.
        guard (Guard): Of the rows' sums.
    """

    def __init__(self, width: int, guard: Guard) -> None:
        super().__init__()
        self.guard = guard
        self.linear = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(
        self, tap: torch.Tensor, memory: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Update a tap.

        Args:
            tap (Tensor): (B, N, h).
            memory (Tensor): Side output of the encoder, (B, S, h).
            mask (Tensor, optional): (B, S), 1 where a state of the encoder is real.

        Returns:
            Tensor: (B, N, h).
        """
        with torch.autocast(tap.device.type, enabled=False):
            read = wide(memory)
            found = similarities(wide(tap), read, mask)
            read = (found / self.guard(found.sum(-1, keepdim=True))) @ read
        return tap + self.norm(linear(self.linear, read))
