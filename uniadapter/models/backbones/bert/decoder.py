"""BERT as a decoder: causal self-attention and a language-model head tied to the embeddings."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from uniadapter.registry import MODELS

from ...heads.words import LanguageModelHead
from .cross import CrossInput, Delta
from .encoder import BertModel


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
        self.cls = LanguageModelHead(self.bert.hidden_size, self.bert.vocab_size, eps)
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
        return self.cls(hidden, self.bert.embeddings.word_embeddings.weight), presents
