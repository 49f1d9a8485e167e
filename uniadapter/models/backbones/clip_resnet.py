"""CLIP's residual networks as grids of features, and a visual tower made of one of them.

The original's *modified ResNet* (Radford et al. 2021, section 2.4) differs from torchvision's in
three things: a stem of three convolutions with a 2 x 2 average pool in the place of one convolution
and a maximum pool; strides are average pools in front of 1 x 1 convolutions, in the main path and
in the shortcut; and attention pools the last map into an embedding. That last pool is left out
here: who wants a grid reads the map in front of it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from uniadapter.registry import MODELS

from ..execution import Want
from .conv import ConvTower

#: Blocks of the four stages and width of the stem, by the names CLIP's authors give.
ARCHS: dict[str, tuple[tuple[int, ...], int]] = {
    "RN50": ((3, 4, 6, 3), 64),
    "RN101": ((3, 4, 23, 3), 64),
    "RN50x4": ((4, 6, 10, 6), 80),
    "RN50x16": ((6, 8, 18, 8), 96),
    "RN50x64": ((3, 15, 36, 10), 128),
}
_EXPANSION = 4


class Block(nn.Module):
    """A bottleneck block of three convolutions; where it strides, it averages.

    Args:
        in_dim (int): Channels of the map.
        width (int): Channels between the convolutions; the output has four times as many.
        stride (int): By how much the map shrinks.
    """

    def __init__(self, in_dim: int, width: int, stride: int) -> None:
        super().__init__()
        out_dim = width * _EXPANSION
        self.conv1 = nn.Conv2d(in_dim, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_dim, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_dim)
        self.stride = stride
        self.downsample: nn.Module | None = None
        if stride > 1 or in_dim != out_dim:
            # The average pool in front of it is no part of the names: it has no weights.
            parts = {
                "0": nn.Conv2d(in_dim, out_dim, 1, bias=False),
                "1": nn.BatchNorm2d(out_dim),
            }
            self.downsample = nn.Sequential(OrderedDict(parts))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to (B, 4 * width, H // stride, W // stride)."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self._shrink(F.relu(self.bn2(self.conv2(y))))
        y = self.bn3(self.conv3(y))
        if self.downsample is not None:
            x = self.downsample(self._shrink(x))
        return F.relu(x + y)

    def _shrink(self, x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(x, self.stride) if self.stride > 1 else x


def _check_sizes(depths: Sequence[int], width: int) -> tuple[tuple[int, ...], int]:
    good = isinstance(depths, list | tuple) and len(depths) == 4 and isinstance(width, int)
    if not good or any(not isinstance(n, int) or n < 1 for n in depths) or width < 2 or width % 2:
        raise ValueError(
            f"arch has depths={depths!r} and width={width!r}: give the blocks of four stages, each "
            "at least 1, and an even width of at least 2."
        )
    return tuple(depths), width


def sizes_of(arch: str | dict[str, Any]) -> tuple[tuple[int, ...], int]:
    """Blocks of the four stages and width of the stem.

    Args:
        arch (str | dict): A key of :data:`ARCHS`, or ``dict(depths=(3, 4, 6, 3), width=64)``.

    Raises:
        ValueError: If the name is unknown, or the dict lacks a key or has a wrong value.
    """
    if isinstance(arch, str):
        if arch not in ARCHS:
            raise ValueError(f"arch={arch!r} is unknown: choose from {list(ARCHS)}.")
        return ARCHS[arch]
    if not isinstance(arch, dict) or set(arch) != {"depths", "width"}:
        raise ValueError(
            f"arch={arch!r} must be one of {list(ARCHS)}, or a dict with 'depths' and 'width'."
        )
    return _check_sizes(arch["depths"], arch["width"])


class ClipResNet(nn.Module):
    """CLIP's modified ResNet without its attention pool, under the original's names.

    RN50x4 has 65,619,640 parameters and 2,560 channels, RN101 42,519,392 and 2,048.

    Args:
        arch (str | dict): See :func:`sizes_of`. Defaults to ``'RN50x4'``.
        norm_eval (bool): Batch norms use their averages in training and leave them as they are.
            Defaults to True. False takes the statistics of the batch and moves the averages, as the
            published codes do, which freeze weights and leave the mode alone.

    Raises:
        ValueError: If ``arch`` is unknown or incomplete.
    """

    #: Pixels of a side that become one of the grid.
    stride = 32

    def __init__(self, arch: str | dict[str, Any] = "RN50x4", norm_eval: bool = True) -> None:
        super().__init__()
        depths, width = sizes_of(arch)
        self.norm_eval = norm_eval
        self.out_channels = width * 8 * _EXPANSION
        half = width // 2
        self.conv1 = nn.Conv2d(3, half, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = nn.Conv2d(half, half, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(half, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.layer1 = self._stage(width, width, depths[0], 1)
        self.layer2 = self._stage(width * 4, width * 2, depths[1], 2)
        self.layer3 = self._stage(width * 8, width * 4, depths[2], 2)
        self.layer4 = self._stage(width * 16, width * 8, depths[3], 2)
        # A module is built in training mode.
        self.train(self.training)

    @staticmethod
    def _stage(in_dim: int, width: int, depth: int, stride: int) -> nn.Sequential:
        first = Block(in_dim, width, stride)
        return nn.Sequential(
            first, *(Block(width * _EXPANSION, width, 1) for _ in range(depth - 1))
        )

    @property
    def stages(self) -> list[nn.Module]:
        """The four stages in order."""
        return [self.layer1, self.layer2, self.layer3, self.layer4]

    def train(self, mode: bool = True) -> ClipResNet:
        """Set the mode; batch normalisation stays in evaluation unless it is to be trained."""
        super().train(mode)
        if mode and self.norm_eval:
            for part in self.modules():
                if isinstance(part, nn.BatchNorm2d):
                    part.eval()
        return self

    def stem(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, 3, H, W) to (B, width, H / 4, W / 4)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.avg_pool2d(F.relu(self.bn3(self.conv3(x))), 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The grid of images.

        Args:
            x (Tensor): (B, 3, H, W), normalised as CLIP's; both sides multiples of 32.

        Returns:
            Tensor: (B, C, H / 32, W / 32).

        Raises:
            ValueError: If a side is no multiple of 32, of which a part would not be seen.
        """
        self.check_size(x)
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return x

    def check_size(self, x: torch.Tensor) -> None:
        """Refuse images that are no (B, 3, H, W) of whole squares of 32 pixels.

        Raises:
            ValueError: If they are.
        """
        if x.dim() != 4 or x.shape[1] != 3 or any(not n or n % self.stride for n in x.shape[-2:]):
            raise ValueError(
                f"Images of shape {tuple(x.shape)}: (B, 3, H, W) with sides that are multiples of "
                f"{self.stride} is expected; let the pipeline pad them (FitAndPad)."
            )


@MODELS.register_module()
class ClipGrid(ConvTower):
    """The grid of CLIP's modified ResNet with learned places: CLIP-ViL's visual tower.

    A position is the sum of its row's and its column's embedding, added to the features; the grid
    is laid out row by row. Whoever reads it projects it.

    Args:
        arch (str | dict): Of :class:`ClipResNet`. Defaults to ``'RN50x4'``.
        max_side (int): Rows of both tables: the largest number of rows and of columns that a grid
            may have. Defaults to 25.
        norm_eval (bool): See :class:`ClipResNet`. Defaults to True.
        grad_checkpointing (bool): Recompute each stage in the backward pass. Defaults to False.

    Raises:
        ValueError: If an option is outside its set, or batch statistics would be taken twice.
    """

    stages = ("model.layer1", "model.layer2", "model.layer3", "model.layer4")

    def __init__(
        self,
        arch: str | dict[str, Any] = "RN50x4",
        max_side: int = 25,
        norm_eval: bool = True,
        grad_checkpointing: bool = False,
    ) -> None:
        super().__init__(norm_eval, grad_checkpointing)
        if not isinstance(max_side, int) or max_side < 1:
            raise ValueError(f"visual.max_side={max_side!r} must be an int of at least 1.")
        self.model = ClipResNet(arch, norm_eval)
        self.row_embed = nn.Embedding(max_side, self.model.out_channels)
        self.column_embed = nn.Embedding(max_side, self.model.out_channels)
        for table in (self.row_embed, self.column_embed):
            nn.init.normal_(table.weight, std=0.02)
        self.finish()

    def stem(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, 3, H, W) to (B, width, H / 4, W / 4)."""
        return self.model.stem(x)

    def tokens(self, x: torch.Tensor, want: Want = "all", frames: int = 1) -> torch.Tensor:
        """Encode images.

        Args:
            x (Tensor): (B, 3, H, W), normalised as CLIP's; both sides multiples of 32.
            want (str): ``'all'``: there is no first token that stands for an image.
            frames (int): Plays no part: images are encoded one by one. Defaults to 1.

        Returns:
            Tensor: (B, H / 32 * W / 32, C) row by row.

        Raises:
            ValueError: If a side is no multiple of 32, the grid is larger than the tables, or the
                first token alone is wanted.
        """
        self.model.check_size(x)
        rows, columns = (side // self.model.stride for side in x.shape[-2:])
        most = self.row_embed.num_embeddings
        if max(rows, columns) > most:
            raise ValueError(
                f"Images of {x.shape[-2]} x {x.shape[-1]} pixels make a grid of {rows} x "
                f"{columns}, but there are positions for {most} rows and columns: use smaller "
                "images, or other weights with a larger visual.max_side."
            )
        tokens = super().tokens(x, want, frames)
        place = self.row_embed.weight[:rows, None] + self.column_embed.weight[None, :columns]
        return tokens + place.flatten(0, 1).to(tokens.dtype)
