"""A small residual network for small pictures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from uniadapter.registry import MODELS

from .conv import ConvTower


class ResidualBlock(nn.Module):
    """``relu(shortcut(x) + norm(conv(relu(norm(conv(x))))))``, convolutions of 3 x 3.

    Args:
        in_dim (int): Channels of the map that is read.
        out_dim (int): Channels of the map that is returned.
        stride (int): Of the first convolution.
    """

    def __init__(self, in_dim: int, out_dim: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_dim, out_dim, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_dim)
        self.conv2 = nn.Conv2d(out_dim, out_dim, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_dim)
        self.shortcut = nn.Conv2d(in_dim, out_dim, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C, H, W) to (B, C', H / stride, W / stride)."""
        inner = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(self.shortcut(x) + inner)


@MODELS.register_module()
class SmallConvVisual(ConvTower):
    """A residual block a stage, behind a convolution that halves the picture.

    Args:
        widths (Sequence[int]): Channels behind each stage. Defaults to four stages.
        strides (Sequence[int]): By what each stage divides the sides. Defaults to 1, 2, 2, 1: a
            picture of 48 x 48 has 36 cells behind the last one.
        norm_eval (bool): Batch norms keep their statistics in training. Defaults to True.
        grad_checkpointing (bool): Recompute each stage in the backward pass. Defaults to False.

    Raises:
        ValueError: If there are not as many strides as widths.
    """

    def __init__(
        self,
        widths: Sequence[int] = (24, 40, 72, 96),
        strides: Sequence[int] = (1, 2, 2, 1),
        norm_eval: bool = True,
        grad_checkpointing: bool = False,
    ) -> None:
        super().__init__(norm_eval, grad_checkpointing)
        if len(widths) != len(strides) or not widths:
            raise ValueError(f"{widths=} and {strides=} of a SmallConvVisual: one each a stage.")
        self.conv = nn.Conv2d(3, widths[0], 3, 2, 1)
        dims = (widths[0], *widths)
        self.blocks = nn.ModuleList(
            ResidualBlock(dims[k], dims[k + 1], stride) for k, stride in enumerate(strides)
        )
        self.stages = tuple(f"blocks.{k}" for k in range(len(widths)))
        self.finish()

    def stem(self, x: torch.Tensor) -> torch.Tensor:
        """The first convolution."""
        return F.relu(self.conv(x))
