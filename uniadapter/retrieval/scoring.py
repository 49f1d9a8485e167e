"""Stage two of the retrieval test: one medium of the gallery against chosen texts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from copy import copy
from typing import Any

from torch import Tensor

from uniadapter.utils.tensors import at_least_float32

from .gallery import Gallery


class GalleryScorer:
    """Scores media of this rank against texts of the gallery by image-text matching.

    What depends on a text alone may be computed here for all texts, and used for every medium.

    Args:
        model (nn.Module): A model with ``scorer`` and ``frame_sims``.
        gallery (Gallery): The gallery.
        autocast (Callable): Makes the autocast context the model runs in.
        text_batch (int): Texts prepared at once.
    """

    def __init__(
        self,
        model: Any,
        gallery: Gallery,
        autocast: Callable[[], AbstractContextManager],
        text_batch: int,
    ) -> None:
        self.model = model
        self.gallery = gallery
        self.autocast = autocast
        parameter = next(model.parameters())
        self.device, self.dtype = parameter.device, at_least_float32(parameter).dtype
        self.scorer = self.model.scorer(gallery.input_ids, gallery.attention_mask)
        with autocast():
            self.scorer.prepare(text_batch)

    def facing(self, gallery: Gallery) -> GalleryScorer:
        """The same texts, which stay prepared, and another gallery's media.

        Args:
            gallery: A gallery with these very texts.
        """
        other = copy(self)
        other.gallery = gallery
        return other

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
            logits = self.scorer.score(
                gallery.own_tokens[row].to(device, self.dtype),
                texts,
                None if frame_sims is None else frame_sims[:, 0],
            )
        return at_least_float32(logits).cpu()
