"""One layer of BLIP's BERT, with the sites an adapter may fill."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ...sites import LayerSites
from .attention import AttentionOutput, CrossAttention, SelfAttention, first_tokens
from .cross import CrossInput, Delta
from .packing import Packing


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
    The sites ``attn``, ``cross`` and ``ffn`` add to those sub-layers' outputs. A layer is in the
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
        text = ("attn", "ffn", "after_self")
        names = {"text": text, "fusion": (*text, "cross", "after_cross")}
        self.at = {role: LayerSites.of(hidden_size, *names[role]) for role in roles}

    def attend(
        self,
        x: torch.Tensor,
        mask: torch.Tensor | Packing | None,
        role: str,
        past: Delta | None = None,
        first_only: bool = False,
    ) -> tuple[torch.Tensor, Delta]:
        """Self-attention with its output block in a role; see :class:`SelfAttention`."""
        attended, present = self.attention.self(x, mask, past, first_only)
        residual = first_tokens(x, mask) if first_only else x
        return self.attention.output(attended, residual, self.at[role].attn), present

    def complete(self, query: torch.Tensor, cross: CrossInput | None, index: int) -> torch.Tensor:
        """What follows self-attention.

        Args:
            query (Tensor): Output of :meth:`attend`, (B, L, D).
            cross (CrossInput, optional): What cross-attention reads; None skips it.
            index (int): The layer's number among those that read, to find its projected keys and
                values.

        Returns:
            Tensor: (B, L, D).
        """
        if cross is None:
            at = self.at["text"]
            out = self.output(self.intermediate(query), query, at.ffn)
            return at.after_self.add(out, query)
        at = self.at["fusion"]
        if cross.recompute and torch.is_grad_enabled():
            attended = checkpoint(self._read, query, cross, index, use_reentrant=False)
        else:
            attended = self._read(query, cross, index)
        hidden = self.crossattention.output(attended, query, at.cross)
        out = self.output(self.intermediate(hidden), hidden, at.ffn)
        return at.after_cross.add(at.after_self.add(out, query), hidden)

    def _read(self, query: torch.Tensor, cross: CrossInput, index: int) -> torch.Tensor:
        """Cross-attention, on keys and values that are projected here unless they are given."""
        attention = self.crossattention.self
        if attention.absorbs(query, cross):
            return attention.absorbed(query, cross.states, cross)
        if cross.projected is not None:
            kv = cross.projected[index]
        else:
            kv = attention.project(cross.states, cross.delta, cross.delta_zero)
        return attention(query, kv, cross)

    def forward(
        self,
        x: torch.Tensor,
        mask: torch.Tensor | Packing | None,
        cross: CrossInput | None,
        index: int,
        past: Delta | None = None,
        first_only: bool = False,
    ) -> tuple[torch.Tensor, Delta]:
        """Run the layer: :meth:`attend`, then :meth:`complete`.

        Args:
            x (Tensor): (B, L, D), or packed texts (1, T, D).
            mask (Tensor | Packing, optional): See :class:`SelfAttention`.
            cross (CrossInput, optional): What cross-attention reads; None skips it.
            index (int): The layer's number among those that read, to find its projected keys and
                values.
            past (tuple, optional): Cached self-attention keys and values.
            first_only (bool): Return the first token of every text only. Defaults to False.

        Returns:
            tuple: Output (B, L, D) and the self-attention's keys and values.
        """
        role = "text" if cross is None else "fusion"
        query, present = self.attend(x, mask, role, past, first_only)
        if first_only and cross is not None:
            cross = cross.of_first_tokens()
        return self.complete(query, cross, index), present
