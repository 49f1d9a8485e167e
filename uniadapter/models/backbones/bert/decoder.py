"""BERT as a decoder: causal self-attention and a language-model head tied to the embeddings."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from uniadapter.registry import MODELS

from .cross import CrossInput, Delta
from .encoder import BertModel


class _Transform(nn.Module):
    """Dense, GELU, LayerNorm before the vocabulary projection."""

    def __init__(self, hidden_size: int, eps: float) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, hidden_size)
        self.LayerNorm = nn.LayerNorm(hidden_size, eps=eps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.LayerNorm(F.gelu(self.dense(x)))


class _Predictions(nn.Module):
    """Bias and transform of the head; its matrix is the word embedding and lives there."""

    def __init__(self, hidden_size: int, vocab_size: int, eps: float) -> None:
        super().__init__()
        self.transform = _Transform(hidden_size, eps)
        self.bias = nn.Parameter(torch.zeros(vocab_size))


@MODELS.register_module()
class BertDecoder(nn.Module):
    """A :class:`BertModel` with causal self-attention and a tied language-model head.

    Args:
        **kwargs: The arguments of :class:`BertModel`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__()
        self.bert = BertModel(**kwargs)
        eps = kwargs.get("eps", 1e-12)
        self.cls: Any = nn.ModuleDict(
            {"predictions": _Predictions(self.bert.hidden_size, self.bert.vocab_size, eps)}
        )
        self.cls.apply(BertModel._init_module)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        cross: CrossInput | None = None,
        past: list[Delta] | None = None,
        wanted: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, list[Delta]]:
        """Predict the next word at every position.

        Args:
            input_ids (Tensor): (B, L) word ids, the first ``[DEC]``.
            attention_mask (Tensor, optional): (B, past + L), 0 where a token is padding.
            cross (CrossInput, optional): What cross-attention reads.
            past (list, optional): Cached self-attention keys and values, one a layer.
            wanted (Tensor, optional): (B, L) bool, True at the N positions whose logits are
                wanted. None: all.

        Returns:
            tuple: Logits (B, L, vocab_size), or (N, vocab_size) with ``wanted``, row by row; and
            the updated cache.
        """
        hidden, presents = self.bert(input_ids, attention_mask, cross, causal=True, past=past)
        if wanted is not None:
            hidden = hidden[wanted]
        head = self.cls["predictions"]
        weight = self.bert.embeddings.word_embeddings.weight
        return F.linear(head.transform(hidden), weight, head.bias), presents
