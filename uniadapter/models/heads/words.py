"""Language-model loss of a decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from uniadapter.utils.dist import weigh_mean
from uniadapter.utils.tensors import at_least_float32

if TYPE_CHECKING:
    from ..backbones.bert import BertDecoder, CrossInput


def language_model_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> torch.Tensor:
    """Cross-entropy of the next token.

    Args:
        logits (Tensor): (B, L, V); position i predicts token i + 1.
        labels (Tensor): (B, L) token ids, -100 where a token is not to be predicted.
        label_smoothing (float): Share spread over the vocabulary. Defaults to 0.
        reduction (str): ``'mean'`` over predicted tokens, or ``'sum'`` over the tokens of each
            text, which gives (B,).

    Returns:
        Tensor: Scalar, or (B,) for ``'sum'``.

    Raises:
        ValueError: If there is not one label a position.
    """
    if labels.shape != logits.shape[:2]:
        raise ValueError(
            f"Logits of shape {tuple(logits.shape)} need labels {tuple(logits.shape[:2])}, got "
            f"{tuple(labels.shape)}."
        )
    loss = F.cross_entropy(
        at_least_float32(logits[:, :-1].flatten(0, 1)),
        labels[:, 1:].flatten(),
        ignore_index=-100,
        label_smoothing=label_smoothing,
        reduction="mean" if reduction == "mean" else "none",
    )
    return loss if reduction == "mean" else loss.view(labels.shape[0], -1).sum(1)


def decoder_loss(
    decoder: BertDecoder,
    words: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    cross: CrossInput,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    predicted_only: bool = True,
) -> torch.Tensor:
    """Run a decoder on words and take the loss of the next ones.

    Args:
        decoder (BertDecoder): The decoder.
        words (tuple): Ids (B, L), mask (B, L) and labels (B, L), see :func:`language_model_loss`.
        cross (CrossInput): What the decoder reads.
        label_smoothing (float): See :func:`language_model_loss`. Defaults to 0.
        reduction (str): See :func:`language_model_loss`; a ``'mean'`` is over the words of all
            ranks, see :func:`uniadapter.utils.dist.weigh_mean`. Defaults to ``'mean'``.
        predicted_only (bool): Run the vocabulary's projection, which is as large as several layers,
            only where a word is to be predicted. Defaults to True.

    Returns:
        Tensor: What :func:`language_model_loss` returns.

    Raises:
        ValueError: If there is not one label a word.
    """
    ids, mask, labels = words
    if labels.shape != ids.shape:
        raise ValueError(
            f"Words of shape {tuple(ids.shape)} need as many labels, got {tuple(labels.shape)}."
        )
    wanted = F.pad(labels[:, 1:] != -100, (0, 1))
    logits, _ = decoder(ids, mask, cross, wanted=wanted if predicted_only else None)
    count = len(logits) if predicted_only else int(wanted.sum())
    if reduction == "mean" and not count:
        # A rank without a word takes part in the mean over all ranks.
        return weigh_mean(logits.sum() * 0.0, 0)
    if not predicted_only:
        loss = language_model_loss(logits, labels, label_smoothing, reduction)
        return weigh_mean(loss, count) if reduction == "mean" else loss
    loss = F.cross_entropy(
        at_least_float32(logits),
        labels[:, 1:][wanted[:, :-1]],
        label_smoothing=label_smoothing,
        reduction="mean" if reduction == "mean" else "none",
    )
    if reduction == "mean":
        return weigh_mean(loss, count)
    return loss.new_zeros(len(ids)).index_add(0, wanted.nonzero()[:, 0], loss)
