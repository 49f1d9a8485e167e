"""BLIP's pre-training: contrastive, matching and language-model loss on image-text pairs."""

from __future__ import annotations

from typing import Any

import torch

from uniadapter.registry import MODELS

from ..backbones import BertDecoder
from ..heads import decoder_loss
from .retrieval import RetrievalModel


@MODELS.register_module()
class BlipPretrainModel(RetrievalModel):
    """All towers trained from scratch, so that one checkpoint serves every task.

    Unlike BLIP the decoder is a tower of its own and shares nothing with the text tower: VQA and
    captioning load it as it is.

    Args:
        decoder (dict): Config of the decoder tower.
        label_smoothing (float): Of the language-model loss. Defaults to 0.1.
        **kwargs: Arguments of :class:`RetrievalModel`; ``train_backbone`` is True by default.
    """

    decoder: BertDecoder

    def __init__(
        self,
        *args: Any,
        decoder: dict,
        label_smoothing: float = 0.1,
        train_backbone: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, decoder=decoder, train_backbone=train_backbone, **kwargs)
        self.role("decoder")
        self.label_smoothing = label_smoothing

    def loss(
        self,
        pixels: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        media_ids: torch.Tensor,
        frame_mask: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """The three losses; see :meth:`RetrievalModel.loss` for the shapes.

        Returns:
            dict[str, Tensor]: ``loss_itc``, ``loss_itm`` and ``loss_lm``, scalars.
        """
        texts = (input_ids, attention_mask)
        losses, tokens = self._contrast_and_match(pixels, *texts, media_ids, frame_mask=frame_mask)
        ids = input_ids.clone()
        ids[:, 0] = self.dec_token_id
        labels = ids.masked_fill(attention_mask == 0, -100)
        memory = self.role("decoder").memory(tokens.flatten(1, 2))
        words = (ids, attention_mask, labels)
        losses["loss_lm"] = decoder_loss(self.role("decoder"), words, memory, self.label_smoothing)
        return losses
