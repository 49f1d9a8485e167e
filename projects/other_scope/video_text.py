"""A video-text model of another project: its towers and scope, parts of this package by name."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.model import BaseModel
from mmpretrain.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class VideoText(BaseModel):
    """A frame tower of mmpretrain's and a bag of words, compared with frames weighted by the text.

    Args:
        frames: Config of a backbone that returns one vector a picture.
        width: Its width, and that of the words.
        words: Size of the table of words.
        attention: Config of the neck that weighs frames for a text.
        contrast: Config of the contrastive head.
        data_preprocessor: As every model's.
    """

    def __init__(
        self,
        frames: dict[str, Any],
        width: int,
        words: int,
        attention: dict[str, Any],
        contrast: dict[str, Any],
        data_preprocessor: dict[str, Any],
    ) -> None:
        super().__init__(data_preprocessor)
        self.frames, self.words = MODELS.build(frames), nn.EmbeddingBag(words, width)
        self.attention = MODELS.build(attention)
        self.contrast = MODELS.build({"visual_dim": width, "text_dim": width, **contrast})

    def forward(
        self, pixels: Tensor, input_ids: Tensor, attention_mask: Tensor, mode: str, **kwargs: Any
    ) -> Any:
        """Losses of a batch, or the scores of a split that is one batch.

        Args:
            pixels: (B, N, 3, H, W).
            input_ids: (B, L), of a text a video.
            attention_mask: (B, L).
            mode: ``'loss'`` or ``'predict'``.
            **kwargs: What else the preprocessor gives.
        """
        cls = self.frames(pixels.flatten(0, 1))[-1].unflatten(0, pixels.shape[:2])
        states = self.words(input_ids)
        text = self.contrast.text(states)
        weights = self.attention(cls, self.contrast.visual(cls), states, text)  # (T, V, N)
        if mode == "loss":
            own = weights.diagonal().T[..., None]  # of each video for its own text
            return {"loss": self.contrast.loss(self.contrast.visual((own * cls).mean(1)), text)}
        seen = torch.einsum("tvn,vnd->tvd", weights, cls) / cls.shape[1]
        scores = torch.einsum("te,tve->tv", text, self.contrast.visual(seen))
        right = [[index] for index in range(len(scores))]
        return [
            {"direction": 0, "scores": scores, "positives": right},
            {"direction": 1, "scores": scores.T, "positives": right},
        ]
