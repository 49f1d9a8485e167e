"""Pairs of image-text matching: batches over all ranks and their hard negatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from mmengine.dist import all_reduce
from torch.nn import functional as F

from uniadapter.utils.dist import gather_ragged, gather_with_grad
from uniadapter.utils.tensors import at_least_float32

from ..heads import draw_negatives


class Pairs(NamedTuple):
    """P pairs: rows of the texts (P,), rows of the media (P,), labels (P,), all long."""

    texts: torch.Tensor
    media: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True)
class MatchBatch:
    """B texts and their media, from which pairs are drawn.

    Attributes:
        tokens (Tensor): Visual tokens (B, N, M, D).
        frames (Tensor): Frame features (B, N, E).
        visual (Tensor): Media features (B, E).
        text_cls (Tensor): Class tokens of the texts (B, D).
        text (Tensor): Text features (B, E).
        input_ids (Tensor): (B, L).
        mask (Tensor): (B, L), 0 where a token is padding.
        ids (Tensor): Media ids (B,).
    """

    tokens: torch.Tensor
    frames: torch.Tensor
    visual: torch.Tensor
    text_cls: torch.Tensor
    text: torch.Tensor
    input_ids: torch.Tensor
    mask: torch.Tensor
    ids: torch.Tensor

    def gather(self) -> MatchBatch:
        """The batch of all ranks, in the order one process would have; tokens keep gradients."""
        length = torch.tensor(self.input_ids.shape[1], device=self.input_ids.device)
        all_reduce(length, "max")
        padding = (0, int(length) - self.input_ids.shape[1])
        return MatchBatch(
            tokens=gather_with_grad(self.tokens),
            frames=gather_ragged(self.frames.detach()),
            visual=gather_ragged(self.visual.detach()),
            text_cls=gather_with_grad(self.text_cls),
            text=gather_ragged(self.text.detach()),
            input_ids=gather_ragged(F.pad(self.input_ids, padding)),
            mask=gather_ragged(F.pad(self.mask, padding)),
            ids=gather_ragged(self.ids),
        )


@torch.no_grad()
def draw_pairs(
    batch: MatchBatch, rows: torch.Tensor, temperature: torch.Tensor, seed: int
) -> Pairs:
    """Positives and hard negatives of ``rows``.

    Negatives are drawn for all rows from one generator, so that every rank draws for its rows what
    a single process would have drawn. A row whose id fills the whole batch has no negative.

    Args:
        batch (MatchBatch): Texts and media.
        rows (Tensor): Rows (R,) to make pairs for.
        temperature (Tensor): Scalar that divides the similarities.
        seed (int): Seed of the draw.

    Returns:
        Pairs: The positives, then a medium a text, then a text a medium; up to 3R pairs.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.autocast(batch.text.device.type, enabled=False):
        text, visual = at_least_float32(batch.text), at_least_float32(batch.visual)
        logits = text @ visual.t() / at_least_float32(temperature)
    media = draw_negatives(logits, batch.ids, batch.ids, generator)[rows]
    texts = draw_negatives(logits.t(), batch.ids, batch.ids, generator)[rows]
    has_media, has_text = media >= 0, texts >= 0
    text_rows = torch.cat((rows, rows[has_media], texts[has_text]))
    labels = torch.zeros_like(text_rows)
    labels[: len(rows)] = 1
    return Pairs(text_rows, torch.cat((rows, media[has_media], rows[has_text])), labels)
