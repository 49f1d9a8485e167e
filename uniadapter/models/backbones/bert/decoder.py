"""BERT as a decoder: causal self-attention and a language-model head tied to the embeddings."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from uniadapter.registry import MODELS

from ...execution import Factor, Words
from ...heads.words import LanguageModelHead
from .cross import CrossInput, Delta
from .encoder import BertModel


@MODELS.register_module()
class BertDecoder(nn.Module):
    """A :class:`BertModel` with causal self-attention and a tied language-model head.

    Args:
        **kwargs: The arguments of :class:`BertModel`, without ``fusion_layer``.

    Raises:
        ValueError: As :class:`BertModel`, or if some layers would not read.
    """

    roles = ("decoder",)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__()
        self.bert = BertModel(**kwargs)
        if self.bert.takes_states:
            raise ValueError(
                f"decoder.fusion_layer={self.bert.fusion_layer}: every layer of a decoder reads, "
                "leave it out."
            )
        eps = kwargs.get("eps", 1e-12)
        self.cls = LanguageModelHead(self.bert.hidden_size, self.bert.vocab_size, eps)
        self.cls.apply(BertModel._init_module)
        self.num_layers: int = self.bert.num_layers
        self.hidden_size: int = self.bert.hidden_size
        self.encoder_width: int = self.bert.encoder_width

    def memory(
        self,
        states: torch.Tensor,
        mask: torch.Tensor | None = None,
        owner: torch.Tensor | None = None,
        factor: Factor | None = None,
    ) -> CrossInput:
        """The decoder role; see :class:`~uniadapter.models.backbones.base.Reader`."""
        absorb = owner is None and self.bert.fast.absorb_kv
        cross = self.bert.read(states, mask, owner, absorb)
        return cross if factor is None else cross.with_weights(*factor)

    def logits(
        self,
        words: Words,
        memory: CrossInput,
        past: list[Delta] | None = None,
        wanted: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, list[Delta]]:
        """The decoder role; see :class:`~uniadapter.models.backbones.base.Decoder`."""
        return self(*words, memory, past, wanted)

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
            input_ids (Tensor): (B, L) word ids, the first ``[DEC]`` (BLIP) or ``[CLS]`` (ALBEF).
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
