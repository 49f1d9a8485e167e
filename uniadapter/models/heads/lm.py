"""Language-model loss of a decoder."""

from __future__ import annotations

import torch
from torch.nn import functional as F


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
    """
    loss = F.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(),
        labels[:, 1:].flatten(),
        ignore_index=-100,
        label_smoothing=label_smoothing,
        reduction="mean" if reduction == "mean" else "none",
    )
    return loss if reduction == "mean" else loss.view(labels.shape[0], -1).sum(1)
