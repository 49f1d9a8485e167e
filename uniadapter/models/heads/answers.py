"""Answers to questions: their weighted loss, and the ranking of a list of candidates."""

from __future__ import annotations

from collections.abc import Callable

import torch

from uniadapter.registry import MODELS
from uniadapter.utils.dist import weigh_mean
from uniadapter.utils.finite import refuse_nan

from .base import Head

_ROWS_AT_A_TIME = 256


@MODELS.register_module()
class AnswerHead(Head):
    """BLIP's VQA: several weighted answers a question in training, a list that is ranked in tests.

    It has no parameters; what a decoder says of an answer comes from outside.

    Args:
        k_test (int): Candidates by their first word that are scored in full. Defaults to 128.

    Raises:
        ValueError: If ``k_test`` is not positive.
    """

    def __init__(self, k_test: int = 128) -> None:
        super().__init__()
        if k_test < 1:
            raise ValueError(f"model.k_test={k_test} must be at least 1.")
        self.k_test = k_test

    def loss(self, losses: torch.Tensor, weights: torch.Tensor, questions: int) -> torch.Tensor:
        """The sum over answers of weight times loss, divided by the questions.

        Args:
            losses (Tensor): Loss of each of A answers, summed over its words, (A,).
            weights (Tensor): The share of annotators who gave it, (A,).
            questions (int): Number of questions on this rank.

        Returns:
            Tensor: Scalar; this rank's part of the mean over all ranks' questions, see
            :func:`uniadapter.utils.dist.weigh_mean`.
        """
        return weigh_mean((losses * weights).sum() / questions, questions)

    @torch.no_grad()
    def rank(
        self,
        first: torch.Tensor,
        first_words: torch.Tensor,
        score: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:
        """Score the ``k_test`` candidates a question whose first words are likeliest.

        Of candidates with the same first word the earlier ones are shortlisted first.

        Args:
            first (Tensor): Log-probabilities of an answer's first word, (B, V).
            first_words (Tensor): Id of the first word of each of A candidates, (A,).
            score (Callable): Gives (R,) scores of R pairs, from the rows of their questions (R,)
                and of their candidates (R,).

        Returns:
            Tensor: (B, A) scores, -inf for candidates left out.
        """
        count = len(first)
        # topk may break ties either way; a stable sort keeps the list's order.
        order = first[:, first_words].sort(dim=1, descending=True, stable=True).indices
        chosen = order[:, : self.k_test]
        owner = torch.arange(count, device=first.device).repeat_interleave(chosen.shape[1])
        pairs = zip(
            owner.split(_ROWS_AT_A_TIME), chosen.flatten().split(_ROWS_AT_A_TIME), strict=True
        )
        scores = [score(*pair) for pair in pairs]
        full = first.new_full((count, len(first_words)), float("-inf"))
        found = refuse_nan(torch.cat((*scores, first[:, 0])), "Scores of the candidate answers")
        return full.scatter(1, chosen, found[: chosen.numel()].view_as(chosen))
