"""Pooling of the features of frames, of which some may be padding."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from uniadapter.registry import MODELS


@MODELS.register_module()
class FeaturePooling(nn.Module):
    """CLIP4Clip's mean pooling: the mean of the features of real frames, brought to length 1.

    Args:
        eps (float): Least norm that the mean is divided by. Defaults to 1e-6, as CLIP4Clip.

    Raises:
        ValueError: If ``eps`` is not positive.
    """

    of_features = True
    #: Whether the mean is brought to length 1; see ``embeddings_as_they_are`` of a model.
    unit = True

    def __init__(self, eps: float = 1e-6) -> None:
        super().__init__()
        if not eps > 0:
            raise ValueError(f"FeaturePooling: eps={eps} must be above 0.")
        self.eps = eps

    def forward(self, features: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Pool the features of frames.

        Args:
            features (Tensor): (B, N, E), of length 1.
            mask (Tensor, optional): (B, N), 1 where a frame is real. None: all are. A video without
                a real frame has the feature 0.

        Returns:
            Tensor: (B, E).

        Raises:
            ValueError: If the mask has another shape.
        """
        if mask is None:
            return self._scaled(features.mean(1))
        if mask.shape != features.shape[:2]:
            raise ValueError(
                f"frame_mask {tuple(mask.shape)} must be {tuple(features.shape[:2])}, one entry a "
                "frame."
            )
        weights = mask.to(features.dtype).unsqueeze(-1)
        # What stands at padding is cut off, not multiplied: it may be no number.
        total = features.masked_fill(weights == 0, 0.0).sum(1)
        return self._scaled(total / weights.sum(1).clamp(min=1.0))

    def _scaled(self, mean: torch.Tensor) -> torch.Tensor:
        return F.normalize(mean, dim=-1, eps=self.eps) if self.unit else mean
