"""Answers as classes: a perceptron over one state, trained with a score for each answer."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from uniadapter.registry import MODELS
from uniadapter.utils.dist import weigh_mean
from uniadapter.utils.tensors import at_least_float32

from .base import Head


@MODELS.register_module()
class AnswerClassHead(Head):
    """Logits of all answers: linear, GELU, LayerNorm (eps 1e-12), linear (LXMERT, CLIP-ViL).

    Args:
        in_dim (int): Width D of the state.
        num_answers (int): Number A of answers.
        hidden_dim (int, optional): Width between the linears. Defaults to None: twice ``in_dim``.
        loss_weight (float): What the loss is multiplied by. Defaults to 500, the constant of
            CLIP-ViL, which is no number of answers.

    Raises:
        ValueError: If a number is not positive.
    """

    def __init__(
        self,
        in_dim: int,
        num_answers: int,
        hidden_dim: int | None = None,
        loss_weight: float = 500.0,
    ) -> None:
        super().__init__()
        if not isinstance(num_answers, int) or num_answers < 1:
            raise ValueError(f"num_answers={num_answers!r} must be an int of at least 1.")
        if not loss_weight > 0:
            raise ValueError(f"loss_weight={loss_weight!r} must be above 0.")
        hidden_dim = 2 * in_dim if hidden_dim is None else hidden_dim
        self.num_answers, self.loss_weight = num_answers, loss_weight
        self.logit_fc = nn.Sequential(
            nn.Linear(in_dim, hidden_dim),
            nn.GELU(),
            nn.LayerNorm(hidden_dim, eps=1e-12),
            nn.Linear(hidden_dim, num_answers),
        )
        for part in self.logit_fc:
            if isinstance(part, nn.Linear):
                nn.init.normal_(part.weight, std=0.02)
                nn.init.zeros_(part.bias)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Logits (B, A) of states (B, D)."""
        logits: torch.Tensor = self.logit_fc(states)
        return logits

    def loss(self, logits: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Binary cross-entropy of every answer, its mean over questions and answers weighed.

        Args:
            logits (Tensor): (B, A).
            scores (Tensor): The score of each answer, in [0, 1], (B, A).

        Returns:
            Tensor: Scalar; this rank's part of the mean over all ranks' questions, see
            :func:`uniadapter.utils.dist.weigh_mean`.
        """
        logits = at_least_float32(logits)
        mean = F.binary_cross_entropy_with_logits(logits, scores.to(logits.dtype))
        return weigh_mean(self.loss_weight * mean, len(logits))
