"""Layers over the frames of a video, as CLIP-Prompt (Ju et al. 2022) puts them behind CLIP."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from uniadapter.registry import MODELS

from .pooling import real_tokens


class _QuickGELU(nn.Module):
    """CLIP's approximation of GELU."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x sigmoid(1.702 x)``."""
        return x * torch.sigmoid(1.702 * x)


class TemporalLayer(nn.Module):
    """Pre-LN transformer layer under the parameter names of CLIP's own.

    Args:
        width (int): Width E.
        num_heads (int): Attention heads.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, num_heads, batch_first=True)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, 4 * width))
        self.mlp.add_module("gelu", _QuickGELU())
        self.mlp.add_module("c_proj", nn.Linear(4 * width, width))
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor, padding: torch.Tensor | None) -> torch.Tensor:
        """Run the layer on (B, N, E); ``padding`` (B, N) is True where nothing is to be seen."""
        n = self.ln_1(x)
        x = x + self.attn(n, n, n, key_padding_mask=padding, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


@MODELS.register_module()
class TemporalPooling(nn.Module):
    """CLIP-Prompt's layers over frames: features of frames see each other before their mean.

    ``mean_n(layers(f_n + p_n))`` of the features of N frames and trained positions, brought to
    length 1. It is trained with the heads. Two layers of width 512 and 16 positions are 6,312,960
    parameters.

    Args:
        width (int): Width E of the features, ``model.contrast.embed_dim``. Defaults to 512.
        num_layers (int): Layers. Defaults to 2.
        num_heads (int): Attention heads. Defaults to 8.
        max_frames (int): Positions, the most frames of a video. Defaults to 16.

    Raises:
        ValueError: If a number is below 1, or the width is no multiple of the heads.
    """

    of_features = True
    #: Whether the mean is brought to length 1; see ``embeddings_as_they_are`` of a model.
    unit = True

    def __init__(
        self, width: int = 512, num_layers: int = 2, num_heads: int = 8, max_frames: int = 16
    ) -> None:
        super().__init__()
        if min(width, num_layers, num_heads, max_frames) < 1 or width % num_heads:
            raise ValueError(
                f"model.pooling: {width=}, {num_layers=}, {num_heads=} and {max_frames=} must be "
                "at least 1, and the width a multiple of the heads."
            )
        self.positions = nn.Parameter(torch.randn(max_frames, width) * 0.01)
        self.layers = nn.ModuleList(TemporalLayer(width, num_heads) for _ in range(num_layers))

    def forward(self, features: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Pool the features of frames.

        Args:
            features (Tensor): (B, N, E), of length 1.
            mask (Tensor, optional): (B, N), 1 where a frame is real. None: all are. A video without
                a real frame has the feature 0.

        Returns:
            Tensor: (B, E), of length 1.

        Raises:
            ValueError: If the features have another width, there are more frames than positions,
                or the mask has another shape.
        """
        frames, width = self.positions.shape
        if features.shape[-1] != width:
            raise ValueError(
                f"model.pooling.width={width}, but features of frames have {features.shape[-1]} "
                "numbers (model.contrast.embed_dim)."
            )
        if features.shape[1] > frames:
            raise ValueError(
                f"Videos of {features.shape[1]} frames, but model.pooling.max_frames={frames}."
            )
        real = real_tokens(features, mask)
        # Attention to nothing at all is no number.
        padding = None if mask is None else ~(real | ~real.any(1, keepdim=True))
        x = features.masked_fill(~real[..., None], 0) + self.positions[: features.shape[1]]
        for layer in self.layers:
            x = layer(x, padding)
        weights = real[..., None].to(x.dtype)
        mean = (x * weights).sum(1) / weights.sum(1).clamp(min=1)
        return F.normalize(mean, dim=-1) if self.unit else mean
