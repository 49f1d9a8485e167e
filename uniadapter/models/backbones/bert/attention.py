"""Attention of BLIP's BERT: projections and heads. Rows and memory say who attends to what."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ...execution import PaddedRows, PairMemory
from ...sites import KeySlot, Slot


class Attention(nn.Module):
    """Multi-head attention; what of :mod:`uniadapter.models.execution` calls it says with which.

    Args:
        hidden_size (int): Width D of what asks.
        num_heads (int): Attention heads H.
        state_width (int): Width W of the states that are attended to.
        dropout (float): Dropout of the attention probabilities.
    """

    def __init__(self, hidden_size: int, num_heads: int, state_width: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(state_width, hidden_size)
        self.value = nn.Linear(state_width, hidden_size)
        self.dropout_rate = dropout

    @property
    def dropout_p(self) -> float:
        """The dropout probability in force: 0 in evaluation."""
        return self.dropout_rate if self.training else 0.0

    def heads(self, x: torch.Tensor) -> torch.Tensor:
        """Split (B, L, D) into heads (B, H, L, D/H)."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def merge(self, x: torch.Tensor) -> torch.Tensor:
        """Join heads (B, H, L, D/H) into (B, L, D)."""
        return x.transpose(1, 2).flatten(2)

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """``softmax(q k^T / sqrt(D/H)) v``, head by head.

        Args:
            query (Tensor): (B, H, L, D/H).
            key (Tensor): (B, H, S, D/H).
            value (Tensor): (B, H, S, D/H).
            mask (Tensor, optional): Bool, broadcastable to (B, H, L, S), True is visible.

        Returns:
            Tensor: (B, L, D).
        """
        out = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=self.dropout_p
        )
        return self.merge(out)


class _WithKeys:
    """An attention in front of whose keys and values a slot puts others, for rows and memory."""

    def __init__(self, attention: Attention, keys: KeySlot) -> None:
        self.attention, self.keys = attention, keys

    def __getattr__(self, name: str) -> Any:
        return getattr(self.attention, name)

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See :meth:`Attention.attend`."""
        return self.attention.attend(query, *self.keys.extend(key, value, mask))


def _with(attention: Attention, keys: KeySlot | None) -> Any:
    return attention if keys is None or not keys.filled else _WithKeys(attention, keys)


class SelfAttention(Attention):
    """Attention within a text."""

    def forward(
        self, x: torch.Tensor, index: int, rows: PaddedRows, keys: KeySlot | None = None
    ) -> torch.Tensor:
        """Output for the tokens that ask, see :meth:`PaddedRows.asking`.

        Args:
            x (Tensor): All tokens, as they lie in ``rows``.
            index (int): Number of the layer.
            rows (PaddedRows): How texts lie.
            keys (KeySlot, optional): Puts keys and values in front of the texts'.
        """
        return rows.attend(_with(self, keys), x, index)


class CrossAttention(Attention):
    """Attention of texts to the states that they read."""

    def forward(
        self,
        x: torch.Tensor,
        index: int,
        rows: PaddedRows,
        memory: PairMemory,
        keys: KeySlot | None = None,
    ) -> torch.Tensor:
        """Output of the shape of ``x``.

        Args:
            x (Tensor): The tokens that ask, as they lie in ``rows``.
            index (int): Number of the layer.
            rows (PaddedRows): How texts lie.
            memory (PairMemory): What they read.
            keys (KeySlot, optional): Puts keys and values in front of the states'.
        """
        return memory.attend(_with(self, keys), x, index, rows)


class AttentionOutput(nn.Module):
    """Output projection, residual and post-LayerNorm."""

    def __init__(self, in_size: int, hidden_size: int, eps: float, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(in_size, hidden_size)
        self.LayerNorm = nn.LayerNorm(hidden_size, eps=eps)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: torch.Tensor,
        residual: torch.Tensor,
        site: Slot | None = None,
        again: Slot | None = None,
    ) -> torch.Tensor:
        """Return ``LN(dense(x) + residual)``, with a term of ``site`` added to ``dense(x)``.

        Args:
            x (Tensor): (B, L, in_size).
            residual (Tensor): (B, L, D), what went into the sub-layer.
            site (Slot, optional): May read ``dense(x)`` or the residual.
            again (Slot, optional): Reads y, what else would be returned; with its term it is
                ``LN(dense(x) + residual + term(y))``.

        Returns:
            Tensor: (B, L, D).
        """
        out = self.dense(x)
        if site is not None:
            out = site.add(out, out, residual)
        total = self.dropout(out) + residual
        y = self.LayerNorm(total)
        term = None if again is None else again.term(y)
        return y if term is None else self.LayerNorm(total + term)
