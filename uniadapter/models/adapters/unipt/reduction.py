"""Brings the early stages of a convolution network to the grid of its last one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .interaction import wide
from .parts import linear

EPS = 1e-8


class StageReduction(nn.Module):
    """Attention pooling of each patch of an early stage, guided by the last stage.

    A stage is larger than the last by whole rates r and s (rows, columns), of any size. For each of
    its patches of r x s values, with the last stage's value of the patch projected to the stage's
    width as the query: similarities ``relu(query . x)`` of the patch, divided by their sum +
    1e-8; to each 1 / (r s) is added; and the patch becomes the sum of its values with these weights
    (attention pooling plus average pooling).

    Args:
        in_dims (Sequence[int]): Channels C_k of the early stages.
        last_dim (int): Channels of the last stage.
    """

    def __init__(self, in_dims: Sequence[int], last_dim: int) -> None:
        super().__init__()
        # A convolution of 1 x 1, which is a linear of the channels.
        self.queries: Any = nn.ModuleList(nn.Linear(last_dim, width) for width in in_dims)

    def forward(self, stages: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Reduce the stages to tokens of the last one's grid, row by row.

        Args:
            stages (Sequence[Tensor]): Maps (B, C_k, r_k H, s_k W) of the early stages, and the last
                one's (B, C, H, W).

        Returns:
            list[Tensor]: (B, H * W, C_k) each, the last stage's among them.

        Raises:
            ValueError: If a stage is no map, or its size is no multiple of the last one's.
        """
        for number, stage in enumerate(stages, 1):
            if stage.dim() != 4:
                raise ValueError(f"Stage {number} is {tuple(stage.shape)}, not (B, C, H, W).")
        last = stages[-1].flatten(2).transpose(1, 2)
        height, width = stages[-1].shape[2:]
        reduced: list[torch.Tensor] = []
        for number, (stage, query) in enumerate(zip(stages, self.queries, strict=False), 1):
            rows, columns = stage.shape[2:]
            if rows % height or columns % width:
                raise ValueError(
                    f"Stage {number} is {rows} x {columns}, no multiple of the last one's "
                    f"{height} x {width}: choose an image size that all strides divide."
                )
            reduced.append(self._reduce(stage, F.relu(linear(query, last)), height, width))
        return [*reduced, last]

    @staticmethod
    def _reduce(stage: torch.Tensor, query: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """Pool the patches of a stage (B, C, r H, s W) with queries (B, H * W, C)."""
        batch, channels = stage.shape[:2]
        patches = stage.unflatten(2, (height, -1)).unflatten(4, (width, -1))
        patches = patches.permute(0, 2, 4, 3, 5, 1).reshape(batch, height * width, -1, channels)
        with torch.autocast(stage.device.type, enabled=False):
            patches = wide(patches)
            found = F.relu(patches @ wide(query)[..., None].to(patches.dtype))
            found = found / (found.sum(2, keepdim=True) + EPS) + 1 / patches.shape[2]
            return (found.transpose(2, 3) @ patches)[:, :, 0]
