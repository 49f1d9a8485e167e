"""Pooling of frames into a video."""

from __future__ import annotations

import torch
from torch import nn

from uniadapter.registry import MODELS


@MODELS.register_module()
class MeanPooling(nn.Module):
    """The mean over frames."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Pool the states of N frames each, (B, N, D), into (B, D)."""
        return states.mean(1)
