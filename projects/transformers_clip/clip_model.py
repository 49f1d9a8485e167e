"""transformers' ``CLIPModel`` as an MMEngine model, each tower with an adapter by config."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel

from uniadapter.models import AdaptedBackbone
from uniadapter.registry import MODELS


@MODELS.register_module()
class AdaptedCLIP(BaseModel):
    """CLIP's contrastive training with everything of CLIP frozen but what the adapters add.

    Args:
        clip: Folder of ``CLIPModel.save_pretrained``, or options of a ``CLIPConfig`` for random
            weights.
        vision: Adapter of the vision tower, whose role is ``visual``; None for none.
        text: Adapter of the text tower, whose role is ``text``; None for none.
        data_preprocessor: As every model's.
    """

    def __init__(
        self,
        clip: str | dict[str, Any],
        vision: dict[str, Any] | None = None,
        text: dict[str, Any] | None = None,
        data_preprocessor: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(data_preprocessor)
        if isinstance(clip, str):
            self.clip = CLIPModel.from_pretrained(clip, local_files_only=True)
        else:
            self.clip = CLIPModel(CLIPConfig(**clip))
        self.clip.requires_grad_(False)
        # Nothing of transformers is copied or replaced: hooks fill the sites that a chart names.
        chart = {"vision": "CLIPVisionModel", "text": "CLIPTextModel"}
        self.adapters = torch.nn.ModuleDict()
        for side, role, adapter in (("vision", "visual", vision), ("text", "text", text)):
            tower = AdaptedBackbone(getattr(self.clip, f"{side}_model"), adapter, chart[side], role)
            if tower.adapter is not None:
                self.adapters[side] = tower.adapter

    def forward(
        self, pixels: Tensor, input_ids: Tensor, attention_mask: Tensor, mode: str, **kwargs: Any
    ) -> Any:
        """CLIP's loss, or the scores of a split that is one batch.

        Args:
            pixels: (B, 1, 3, H, W).
            input_ids: (B, L).
            attention_mask: (B, L).
            mode: ``'loss'`` or ``'predict'``.
            **kwargs: What else the preprocessor gives.
        """
        found = self.clip(
            input_ids=input_ids, pixel_values=pixels[:, 0], attention_mask=attention_mask
        )
        scores, own = found.logits_per_text, torch.arange(len(pixels), device=pixels.device)
        if mode == "loss":
            losses = (F.cross_entropy(scores, own), F.cross_entropy(scores.T, own))
            return {"loss": sum(losses) / 2}
        right = own[:, None].tolist()
        return [
            {"direction": 0, "scores": scores, "positives": right},
            {"direction": 1, "scores": scores.T, "positives": right},
        ]
