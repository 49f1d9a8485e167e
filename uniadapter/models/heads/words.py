"""The language-model head of a decoder, and its loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from uniadapter.registry import MODELS
from uniadapter.utils.dist import weigh_mean
from uniadapter.utils.tensors import at_least_float32

from ..execution import PairMemory, Words
from .base import Head

if TYPE_CHECKING:
    from ..backbones.base import Decoder


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
    decoder: Decoder,
    words: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    memory: PairMemory,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> torch.Tensor:
    """Run a decoder on words and take the loss of the next ones.

    Args:
        decoder (Decoder): Who plays that role.
        words (tuple): Ids (B, L), mask (B, L) and labels (B, L), see :func:`language_model_loss`.
        memory (PairMemory): What the decoder reads.
        label_smoothing (float): See :func:`language_model_loss`. Defaults to 0.
        reduction (str): See :func:`language_model_loss`; a ``'mean'`` is over the words of all
            ranks, see :func:`uniadapter.utils.dist.weigh_mean`. Defaults to ``'mean'``.

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
    logits, _ = decoder.logits(Words(ids, mask), memory, wanted=wanted)
    if reduction == "mean" and not len(logits):
        # A rank without a word takes part in the mean over all ranks.
        return weigh_mean(logits.sum() * 0.0, 0)
    loss = F.cross_entropy(
        at_least_float32(logits),
        labels[:, 1:][wanted[:, :-1]],
        label_smoothing=label_smoothing,
        reduction="mean" if reduction == "mean" else "none",
    )
    if reduction == "mean":
        return weigh_mean(loss, len(logits))
    return loss.new_zeros(len(ids)).index_add(0, wanted.nonzero()[:, 0], loss)


class _Transform(nn.Module):
    """Dense, GELU, LayerNorm before the vocabulary projection."""

    def __init__(self, hidden_size: int, eps: float) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, hidden_size)
        self.LayerNorm = nn.LayerNorm(hidden_size, eps=eps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.LayerNorm(F.gelu(self.dense(x)))


class _Predictions(nn.Module):
    """Transform, bias and, where it is not tied, the matrix, under BERT's names."""

    def __init__(self, hidden_size: int, vocab_size: int, eps: float, tied: bool) -> None:
        super().__init__()
        self.transform = _Transform(hidden_size, eps)
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        self.decoder = None if tied else nn.Linear(hidden_size, vocab_size, bias=False)


@MODELS.register_module()
class LanguageModelHead(Head):
    """BERT's head: a dense layer, GELU, LayerNorm and a projection to the vocabulary.

    Args:
        hidden_size (int): Width D of the states.
        vocab_size (int): Words V.
        eps (float): LayerNorm epsilon. Defaults to 1e-12.
        tied (bool): The projection's matrix is the word embeddings, which live elsewhere and are
            given with every call. Defaults to True.
    """

    def __init__(
        self, hidden_size: int, vocab_size: int, eps: float = 1e-12, tied: bool = True
    ) -> None:
        super().__init__()
        self.predictions = _Predictions(hidden_size, vocab_size, eps, tied)

    def forward(self, states: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
        """Predict words.

        Args:
            states (Tensor): (..., D).
            weight (Tensor, optional): Word embeddings (V, D) of a tied head.

        Returns:
            Tensor: Logits (..., V).

        Raises:
            ValueError: If a tied head gets no word embeddings, or another one gets some.
        """
        own = self.predictions.decoder
        matrix = own.weight if own is not None else weight
        if matrix is None or (own is not None and weight is not None):
            raise ValueError(
                "A LanguageModelHead is tied to word embeddings, which are given with every call, "
                "or has a matrix of its own (tied=False)."
            )
        return F.linear(self.predictions.transform(states), matrix, self.predictions.bias)

    def loss(
        self,
        states: torch.Tensor,
        labels: torch.Tensor,
        weight: torch.Tensor | None = None,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
    ) -> torch.Tensor:
        """Cross-entropy of the next token, on one process; see :func:`language_model_loss`.

        Args:
            states (Tensor): (B, L, D); position i predicts token i + 1.
            labels (Tensor): (B, L).
            weight (Tensor, optional): As for a call.
            label_smoothing (float): Defaults to 0.
            reduction (str): ``'mean'`` or ``'sum'``. Defaults to ``'mean'``.
        """
        return language_model_loss(self(states, weight), labels, label_smoothing, reduction)
