"""Image-text matching: pairs with hard negatives over all ranks, and the head that tells them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from mmengine.dist import all_reduce, get_rank
from torch import nn
from torch.nn import functional as F

from uniadapter.registry import MODELS
from uniadapter.utils.dist import gather_ragged, gather_with_grad, own_rows, weigh_mean
from uniadapter.utils.tensors import at_least_float32

from ..adapters.base import check_choice
from .base import Head

_RANK_STRIDE = 10_007


@torch.no_grad()
def draw_negatives(
    logits: torch.Tensor,
    row_ids: torch.Tensor,
    column_ids: torch.Tensor,
    generator: torch.Generator,
) -> torch.Tensor:
    """Draw one negative a row from the softmaxed similarities, same ids masked out.

    The draw is made on the CPU: with the same generator state every rank draws the same rows.

    Args:
        logits (Tensor): Similarities divided by the temperature, (R, C).
        row_ids (Tensor): Media ids of the rows, (R,).
        column_ids (Tensor): Media ids of the columns, (C,).
        generator (torch.Generator): CPU generator.

    Returns:
        Tensor: Column indices (R,), long, on the device of ``logits``; -1 where all columns have
        the row's id.

    Raises:
        ValueError: If the similarities have another shape than the ids.
    """
    if logits.shape != (len(row_ids), len(column_ids)):
        raise ValueError(
            f"Similarities of {len(row_ids)} rows and {len(column_ids)} columns have the shape "
            f"{tuple(logits.shape)}."
        )
    same = row_ids[:, None] == column_ids[None]
    none_left = same.all(1)
    # Masking before the softmax is masking after it and renormalising, which the draw does
    # anyway, but can't underflow to a row of zeros.
    weights = torch.softmax(at_least_float32(logits).masked_fill(same, float("-inf")), dim=1)
    weights = weights.masked_fill(none_left[:, None], 1.0)
    # Similarities that are NaN make the losses NaN, which stops all ranks together; a draw that
    # failed would stop one of them only.
    weights = torch.where(weights.isnan(), (~same).to(weights.dtype), weights)
    drawn = torch.multinomial(weights.cpu(), 1, generator=generator).squeeze(1).to(logits.device)
    return drawn.masked_fill(none_left, -1)


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
        visual_m (Tensor, optional): Media features of the momentum averages (B, E).
        text_m (Tensor, optional): Text features of the averages (B, E).
        states (Tensor, optional): Text states (B, L, D), for a fusion that continues from them.
    """

    tokens: torch.Tensor
    frames: torch.Tensor
    visual: torch.Tensor
    text_cls: torch.Tensor
    text: torch.Tensor
    input_ids: torch.Tensor
    mask: torch.Tensor
    ids: torch.Tensor
    visual_m: torch.Tensor | None = None
    text_m: torch.Tensor | None = None
    states: torch.Tensor | None = None

    def gather(self) -> MatchBatch:
        """The batch of all ranks, in the order one process would have; tokens keep gradients."""
        length = torch.tensor(self.input_ids.shape[1], device=self.input_ids.device)
        all_reduce(length, "max")
        padding = (0, int(length) - self.input_ids.shape[1])
        states = self.states
        if states is not None:
            states = gather_with_grad(F.pad(states, (0, 0, *padding)))
        return MatchBatch(
            tokens=gather_with_grad(self.tokens),
            frames=gather_ragged(self.frames.detach()),
            visual=gather_ragged(self.visual.detach()),
            text_cls=gather_with_grad(self.text_cls),
            text=gather_ragged(self.text.detach()),
            input_ids=gather_ragged(F.pad(self.input_ids, padding)),
            mask=gather_ragged(F.pad(self.mask, padding)),
            ids=gather_ragged(self.ids),
            visual_m=None if self.visual_m is None else gather_ragged(self.visual_m),
            text_m=None if self.text_m is None else gather_ragged(self.text_m),
            states=states,
        )


@torch.no_grad()
def draw_pairs(
    batch: MatchBatch,
    rows: torch.Tensor,
    temperature: torch.Tensor,
    seed: int,
    candidates: str = "online",
) -> Pairs:
    """Positives and hard negatives of ``rows``.

    Negatives are drawn for all rows from one generator, so that every rank draws for its rows what
    a single process would have drawn. A row whose id fills the whole batch has no negative.

    Args:
        batch (MatchBatch): Texts and media.
        rows (Tensor): Rows (R,) to make pairs for.
        temperature (Tensor): Scalar that divides the similarities.
        seed (int): Seed of the draw.
        candidates (str): Which features of the candidates a row is compared with, see
            :class:`MatchingHead`. Defaults to ``'online'``.

    Returns:
        Pairs: The positives, then a medium a text, then a text a medium; up to 3R pairs.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.autocast(batch.text.device.type, enabled=False):
        text, visual = at_least_float32(batch.text), at_least_float32(batch.visual)
        temperature = at_least_float32(temperature)
        if candidates == "momentum":
            of_texts = text @ at_least_float32(_averaged(batch.visual_m)).t() / temperature
            of_media = visual @ at_least_float32(_averaged(batch.text_m)).t() / temperature
        else:
            of_texts = text @ visual.t() / temperature
            of_media = of_texts.t()
    media = draw_negatives(of_texts, batch.ids, batch.ids, generator)[rows]
    texts = draw_negatives(of_media, batch.ids, batch.ids, generator)[rows]
    has_media, has_text = media >= 0, texts >= 0
    text_rows = torch.cat((rows, rows[has_media], texts[has_text]))
    labels = torch.zeros_like(text_rows)
    labels[: len(rows)] = 1
    return Pairs(text_rows, torch.cat((rows, media[has_media], rows[has_text])), labels)


def _averaged(features: torch.Tensor | None) -> torch.Tensor:
    if features is None:
        raise ValueError(
            "matching.candidates='momentum' draws negatives by features of momentum averages, "
            "which this model has not: choose contrast=dict(type='MomentumContrastHead') or "
            "matching.candidates='online'."
        )
    return features


@MODELS.register_module()
class MatchingHead(Head):
    """ITM of ALBEF and BLIP: do a text and a medium, fused by a multimodal encoder, go together?

    Args:
        text_dim (int): Width D of the fused states.
        negatives (str): Hard negatives from ``'all'`` ranks or the ``'own'`` one. Defaults to
            ``'all'``.
        candidates (str): A negative of a text is drawn by the text's similarity with the media's
            features, and the reverse: with those that are trained, ``'online'`` (BLIP), or those of
            the momentum averages, ``'momentum'`` (ALBEF). Defaults to ``'online'``.

    Raises:
        ValueError: If an option is outside its set.
    """

    step: torch.Tensor

    def __init__(self, text_dim: int, negatives: str = "all", candidates: str = "online") -> None:
        super().__init__()
        check_choice(negatives, ("all", "own"), "negatives")
        check_choice(candidates, ("online", "momentum"), "candidates")
        self.negatives = negatives
        self.candidates = candidates
        self.itm_head = nn.Linear(text_dim, 2)
        # Seeds the draws, so that a resumed run draws as it would have.
        self.register_buffer("step", torch.zeros((), dtype=torch.long))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Tell pairs.

        Args:
            states (Tensor): Fused states of the texts' first tokens, (P, D).

        Returns:
            Tensor: Logits (P, 2), at least float32 (in half precision near ones would tie); column
            1 means that text and medium belong together.
        """
        with torch.autocast(states.device.type, enabled=False):
            return at_least_float32(self.itm_head(states.to(self.itm_head.weight.dtype)))

    @torch.no_grad()
    def count(self) -> None:
        """Begin a training step: its negatives are another draw."""
        self.step += 1

    def pairs(self, batch: MatchBatch, temperature: torch.Tensor) -> tuple[MatchBatch, Pairs]:
        """Positives, a hard negative medium a text and a hard negative text a medium.

        Args:
            batch (MatchBatch): Texts and media of this rank.
            temperature (Tensor): Scalar that divides the similarities.

        Returns:
            tuple: The batch that the pairs are rows of (that of all ranks with
            ``negatives='all'``), and the pairs of this rank's rows.
        """
        size, device = len(batch.ids), batch.ids.device
        rows, seed = torch.arange(size, device=device), int(self.step)
        if self.negatives == "all":
            rows = own_rows(size).to(device)
            batch = batch.gather()
        else:
            seed += _RANK_STRIDE * get_rank()
        return batch, draw_pairs(batch, rows, temperature, seed, self.candidates)

    def loss(self, states: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of pairs with fused states (P, D) and labels (P,).

        Returns:
            Tensor: Scalar; this rank's part of the mean over all ranks' pairs, see
            :func:`uniadapter.utils.dist.weigh_mean`.
        """
        return weigh_mean(F.cross_entropy(self(states), labels), len(labels))
