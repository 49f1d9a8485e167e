"""Stage two of the retrieval test: one medium of the gallery against chosen texts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from uniadapter.utils.tensors import at_least_float32

from .gallery import Gallery


class GalleryScorer:
    """Scores media of this rank against texts of the gallery by image-text matching.

    What depends on a text alone (the first layer's self-attention) is computed here for all texts,
    and used for every medium.

    Args:
        model (nn.Module): A model with ``attend_texts``, ``frame_sims`` and ``score_texts``.
        gallery (Gallery): The gallery.
        autocast (Callable): Makes the autocast context the model runs in.
        text_batch (int): Texts prepared at once.
    """

    def __init__(
        self,
        model: nn.Module,
        gallery: Gallery,
        autocast: Callable[[], AbstractContextManager],
        text_batch: int,
    ) -> None:
        self.model: Any = model
        self.gallery = gallery
        self.autocast = autocast
        parameter = next(model.parameters())
        self.device, self.dtype = parameter.device, at_least_float32(parameter).dtype
        mask = gallery.attention_mask.bool()
        self.lengths = mask.sum(dim=1)
        # Beyond these a text has padding alone, on whichever side the rest of its padding is.
        self.widths = (mask * torch.arange(1, mask.shape[1] + 1)).amax(dim=1)
        self.offsets = self.lengths.cumsum(0) - self.lengths
        self.attended = self._attend(text_batch)

    def _attend(self, text_batch: int) -> Tensor | None:
        """First self-attention of all texts, (sum of lengths, D); None where the model has none."""
        parts = []
        for start in range(0, len(self.lengths), text_batch):
            rows = torch.arange(start, min(start + text_batch, len(self.lengths)))
            with self.autocast():
                part = self.model.attend_texts(*self._words(rows))
            if part is None:
                return None
            parts.append(part.cpu())
        return torch.cat(parts) if parts else None

    def _words(self, texts: Tensor) -> tuple[Tensor, Tensor]:
        """Word ids and mask of texts, as wide as the widest of them."""
        length = int(self.widths[texts].max())
        ids = self.gallery.input_ids[texts, :length]
        return ids.to(self.device), self.gallery.attention_mask[texts, :length].to(self.device)

    def _attended(self, texts: Tensor) -> Tensor | None:
        if self.attended is None:
            return None
        lengths = self.lengths[texts]
        within = torch.arange(int(lengths.sum())) - (lengths.cumsum(0) - lengths).repeat_interleave(
            lengths
        )
        rows = self.offsets[texts].repeat_interleave(lengths) + within
        return self.attended[rows].to(self.device)

    def score(self, row: int, texts: Tensor) -> Tensor:
        """Matching logits of one own medium with texts.

        Args:
            row (int): Row of the medium among those of this rank.
            texts (Tensor): (T,) indices of texts.

        Returns:
            Tensor: (T,), float32 (float64 of such a model), on the CPU.
        """
        gallery, device = self.gallery, self.device
        own = slice(row, row + 1)
        with self.autocast():
            frame_sims = self.model.frame_sims(
                gallery.own_frame_cls[own].to(device),
                gallery.own_frame_features[own].to(device),
                gallery.text_cls[texts].to(device),
                gallery.text_features[texts].to(device),
            )
            logits = self.model.score_texts(
                gallery.own_tokens[row].to(device, self.dtype),
                *self._words(texts),
                None if frame_sims is None else frame_sims[:, 0],
                attended=self._attended(texts),
            )
        return at_least_float32(logits).cpu()
