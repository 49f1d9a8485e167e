"""One layer of BLIP's BERT, with the sites an adapter may fill."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ...execution import PaddedRows, PairMemory
from ...sites import LayerSites
from .attention import AttentionOutput, CrossAttention, SelfAttention


class _Attention(nn.Module):
    """An attention and its output block under BERT's parameter names (``self``, ``output``)."""

    def __init__(self, attention: Any, output: AttentionOutput) -> None:
        super().__init__()
        self.self: Any = attention
        self.output = output


class _Intermediate(nn.Module):
    """First half of the feed-forward network."""

    def __init__(self, hidden_size: int, intermediate_size: int) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, intermediate_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.gelu(self.dense(x))


class BertLayer(nn.Module):
    """Post-LN transformer layer that is used with or without cross-attention.

    Text role:   ``h = LN(x + attn x)``; ``LN(h + ffn h) + after_self(h)``.
    Fusion role: ``q = LN(x + attn x)``; ``h = LN(q + cross(q, states))``;
    ``LN(h + ffn h) + after_self(q) + after_cross(h)`` (paper eq. 4 and 6, after BERT's post-LN).
    The sites ``attn``, ``cross`` and ``ffn`` add to those sub-layers' outputs, ``out`` inside the
    last norm, of whose output it reads. A layer is in the
    fusion role where it reads states; a decoder's layers always do.

    Args:
        hidden_size (int): Width D.
        num_heads (int): Attention heads H.
        intermediate_size (int): Width of the feed-forward network.
        encoder_width (int): Width W of the states that cross-attention reads.
        eps (float): LayerNorm epsilon.
        dropout (float): Dropout of the hidden states.
        attention_dropout (float): Dropout of the attention probabilities.
        roles (Collection[str]): What the layer is for, ``'text'``, ``'fusion'`` or both; one that
            is for texts alone has no cross-attention. Defaults to both, as BLIP's.
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        intermediate_size: int,
        encoder_width: int,
        eps: float,
        dropout: float,
        attention_dropout: float,
        roles: Collection[str] = ("text", "fusion"),
    ) -> None:
        super().__init__()
        self.attention = _Attention(
            SelfAttention(hidden_size, num_heads, hidden_size, attention_dropout),
            AttentionOutput(hidden_size, hidden_size, eps, dropout),
        )
        if "fusion" in roles:
            self.crossattention = _Attention(
                CrossAttention(hidden_size, num_heads, encoder_width, attention_dropout),
                AttentionOutput(hidden_size, hidden_size, eps, dropout),
            )
        self.intermediate = _Intermediate(hidden_size, intermediate_size)
        self.output = AttentionOutput(intermediate_size, hidden_size, eps, dropout)
        text = ("keys", "attn", "ffn", "out", "after_self")
        names = {"text": text, "fusion": (*text, "cross_keys", "cross", "after_cross")}
        self.at = {role: LayerSites.of(hidden_size, *names[role]) for role in roles}

    def attend(self, x: torch.Tensor, index: int, rows: PaddedRows, role: str) -> torch.Tensor:
        """Self-attention with its output block, in a role; see :meth:`forward`.

        Returns:
            Tensor: Of the tokens that ask.
        """
        at = self.at[role]
        attended = self.attention.self(x, index, rows, at.keys)
        return self.attention.output(attended, rows.asking(x), at.attn)

    def complete(
        self, query: torch.Tensor, index: int, rows: PaddedRows, memory: PairMemory | None
    ) -> torch.Tensor:
        """What follows self-attention; ``query`` is what :meth:`attend` returned."""
        if memory is None:
            at = self.at["text"]
            out = self.output(self.intermediate(query), query, at.ffn, at.out)
            return at.after_self.add(out, query)
        at = self.at["fusion"]
        read = self.crossattention.self(query, index, rows, memory, at.cross_keys)
        hidden = self.crossattention.output(read, query, at.cross)
        out = self.output(self.intermediate(hidden), hidden, at.ffn, at.out)
        return at.after_cross.add(at.after_self.add(out, query), hidden)

    def forward(
        self, x: torch.Tensor, index: int, rows: PaddedRows, memory: PairMemory | None = None
    ) -> torch.Tensor:
        """Run the layer.

        Args:
            x (Tensor): Tokens, as they lie in ``rows``.
            index (int): Number of the layer, from 0.
            rows (PaddedRows): How the texts lie.
            memory (PairMemory, optional): What cross-attention reads; None skips it.

        Returns:
            Tensor: The tokens whose output ``rows`` asks for, as they lie.
        """
        role = "text" if memory is None else "fusion"
        return self.complete(self.attend(x, index, rows, role), index, rows, memory)
