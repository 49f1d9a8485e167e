"""BERT as a decoder: causal self-attention and a language-model head tied to the embeddings."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from uniadapter.registry import MODELS

from ...execution import CausalRows, Execution, Factor, PairMemory, Words, cached
from ...heads.words import LanguageModelHead
from ...sites import LayerSites, Slot
from ..base import Past, check_states
from .encoder import BertModel


@MODELS.register_module()
class BertDecoder(nn.Module):
    """A :class:`BertModel` with causal self-attention and a tied language-model head.

    Args:
        **kwargs: The arguments of :class:`BertModel`, without ``fusion_layer``.

    Raises:
        ValueError: As :class:`BertModel`, or if some layers would not read.
    """

    roles: tuple[str, ...] = ("decoder",)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__()
        self.bert = BertModel(**kwargs)
        # Words that are predicted one by one begin with a token that is no place for others.
        for at in self.bert.encoder.layer[0].at.values():
            del at.slots["tokens"]
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

    @property
    def execution(self) -> Execution:
        """How it runs."""
        return self.bert.execution

    @execution.setter
    def execution(self, execution: Execution) -> None:
        self.bert.execution = execution

    def memory(
        self,
        states: torch.Tensor,
        mask: torch.Tensor | None = None,
        owner: torch.Tensor | None = None,
        factor: Factor | None = None,
    ) -> PairMemory:
        """The decoder role; see :class:`~uniadapter.models.backbones.base.Reader`."""
        check_states(self.encoder_width, states, mask, owner, factor)
        return self.execution.memory(self, states, mask, owner, factor)

    def sites(self, role: str) -> list[tuple[int, LayerSites]]:
        """Sites of the layers with their numbers from 0; they always read states."""
        return self.bert.sites("fusion")

    def role_layers(self, role: str) -> list[nn.Module]:
        """The layers, in order."""
        return self.bert.role_layers("fusion")

    def local(self, role: str) -> bool:
        """Whether every term of a token needs that token alone."""
        return self.bert.local("fusion")

    @property
    def body(self) -> BertModel:
        """Who has the layers."""
        return self.bert

    @property
    def kv_slot(self) -> Slot:
        """The site ``kv``."""
        return self.bert.kv_slot

    def logits(
        self,
        words: Words,
        memory: PairMemory,
        past: Past | None = None,
        wanted: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, Past]:
        """The decoder role; see :class:`~uniadapter.models.backbones.base.Decoder`."""
        return self(*words, memory, past, wanted)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        memory: PairMemory | None = None,
        past: Past | None = None,
        wanted: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, Past]:
        """Predict the next word at every position.

        Args:
            input_ids (Tensor): (B, L) word ids, the first ``[DEC]`` (BLIP) or ``[CLS]`` (ALBEF).
            attention_mask (Tensor, optional): (B, past + L), 0 where a token is padding.
            memory (PairMemory, optional): What cross-attention reads.
            past (list, optional): Cached self-attention keys and values, one pair a layer.
            wanted (Tensor, optional): (B, L) bool, True at the N positions whose logits are
                wanted. None: all.

        Returns:
            tuple: Logits (B, L, vocab_size), or (N, vocab_size) with ``wanted``, row by row; and
            the updated cache, empty with ``wanted``: nothing goes on from a text that is whole.
        """
        self.bert.check(input_ids, attention_mask, cached(past))
        length, device = input_ids.shape[1], input_ids.device
        rows = CausalRows(length, attention_mask, past, device, keep=wanted is None)
        hidden = self.bert(input_ids, attention_mask, memory, rows=rows)
        return self.predict(hidden, wanted), rows.present

    def states(self, words: Words, memory: PairMemory) -> torch.Tensor:
        """The decoder role; see :class:`~uniadapter.models.backbones.base.Decoder`."""
        self.bert.check(*words)
        rows = CausalRows(words.ids.shape[1], words.mask, None, words.ids.device, keep=False)
        return self.bert(*words, memory, rows=rows)

    def predict(self, states: torch.Tensor, wanted: torch.Tensor | None = None) -> torch.Tensor:
        """The decoder role; see :class:`~uniadapter.models.backbones.base.Decoder`."""
        if wanted is None:
            return self._words(states)
        return self.execution.logits(self._words, states, wanted)

    def _words(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits (..., V) of states (..., D)."""
        return self.cls(hidden, self.bert.embeddings.word_embeddings.weight)
