"""Self- and cross-attention of BLIP's BERT on scaled_dot_product_attention.

Keys and values of a cross-attention can be projected once and used for many texts: pairs refer to
them by index, or all pairs read the same single medium. Frame weights (PFA) are a factor on the
keys (released variant) or on the states before both projections (paper variant); neither needs a
copy of the states a text.

A row of packed texts (:class:`Packing`) is one text of T tokens to everything but self-attention.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from ...sites import Slot
from .cross import CrossInput, Delta, KeyValue
from .packing import Packing

# Logits (heads x queries x states) that weighted attention holds at once: on a CPU what stays in
# its cache, on a GPU what fills it.
_LOGITS_AT_ONCE = {"cpu": 1 << 22}
_LOGITS_AT_ONCE_ELSEWHERE = 1 << 28


class _Projections(nn.Module):
    """Query, key and value projections, split into heads."""

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


def _merge(x: torch.Tensor) -> torch.Tensor:
    """Join heads (B, H, L, D/H) into (B, L, D)."""
    return x.transpose(1, 2).flatten(2)


def _apart(x: torch.Tensor, packing: Packing | None) -> torch.Tensor:
    return x if packing is None else packing.unpack(x)


def _together(x: torch.Tensor, packing: Packing | None) -> torch.Tensor:
    return x if packing is None else packing.pack(x)


def first_tokens(x: torch.Tensor, mask: torch.Tensor | Packing | None) -> torch.Tensor:
    """The first token of every text: (B, 1, D), or (1, P, D) of packed texts."""
    return x[:, mask.first] if isinstance(mask, Packing) else x[:, :1]


class SelfAttention(_Projections):
    """Multi-head self-attention with an optional key/value cache."""

    def forward(
        self,
        x: torch.Tensor,
        mask: torch.Tensor | Packing | None,
        past: Delta | None = None,
        first_only: bool = False,
    ) -> tuple[torch.Tensor, Delta]:
        """Attend within a sequence.

        Args:
            x (Tensor): (B, L, D), or packed texts (1, T, D).
            mask (Tensor | Packing, optional): bool, broadcastable to (B, H, L, past + L), True is
                visible; or how the texts are packed.
            past (tuple, optional): Cached keys and values, each (B, H, past, D/H).
            first_only (bool): Return the output of the first token only. Defaults to False.

        Returns:
            tuple: Output (B, L, D) ((B, 1, D) with ``first_only``; packed as ``x`` is) and the keys
            and values of all tokens so far.
        """
        asking = first_tokens(x, mask) if first_only else x
        query, key, value = self.query(asking), self.key(x), self.value(x)
        if isinstance(mask, Packing):
            apart = mask.only_first() if first_only else mask
            query = self.heads(apart.unpack(query))
            key, value = self.heads(mask.unpack(key)), self.heads(mask.unpack(value))
            out = F.scaled_dot_product_attention(
                query, key, value, attn_mask=mask.mask[:, None, None], dropout_p=self.dropout_p
            )
            return apart.pack(_merge(out)), (key, value)
        query, key, value = self.heads(query), self.heads(key), self.heads(value)
        if past is not None:
            key = torch.cat((past[0], key), dim=2)
            value = torch.cat((past[1], value), dim=2)
        out = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=self.dropout_p
        )
        return _merge(out), (key, value)


class CrossAttention(_Projections):
    """Multi-head attention of texts to projected states."""

    def project(
        self,
        states: torch.Tensor,
        delta: Delta | None = None,
        delta_zero: Delta | None = None,
    ) -> KeyValue:
        """Project states once, for any number of texts.

        Args:
            states (Tensor): (V, S, W).
            delta (tuple, optional): Terms added to keys and values, each (V, S, D).
            delta_zero (tuple, optional): Those terms for an all-zero state, each (1, 1, D).

        Returns:
            KeyValue: Keys and values by head.
        """
        key, value = self.key(states), self.value(states)
        key_zero, value_zero = self.key.bias.view(1, 1, -1), self.value.bias.view(1, 1, -1)
        if delta is not None and delta_zero is not None:
            key, value = key + delta[0], value + delta[1]
            key_zero, value_zero = key_zero + delta_zero[0], value_zero + delta_zero[1]
        return KeyValue(*(self.heads(t) for t in (key, value, key_zero, value_zero)))

    def forward(self, x: torch.Tensor, kv: KeyValue, cross: CrossInput) -> torch.Tensor:
        """Attend from texts to states.

        Args:
            x (Tensor): Queries of shape (P, L, D), or of packed texts (1, T, D).
            kv (KeyValue): Projected states of V media.
            cross (CrossInput): Which medium a text reads, mask and frame weights.

        Returns:
            Tensor: Of the shape of ``x``.
        """
        query = self.heads(_apart(self.query(x), cross.packing))
        if cross.owner is not None and cross.packing is not None:
            out = self._by_medium(query, kv, cross, cross.packing)
        elif kv.key.shape[0] == 1 and (query.shape[0] > 1 or cross.weights is not None):
            out = self._one_medium(query, kv, cross)
        else:
            out = self._pairwise(query, kv, cross)
        return _together(_merge(out), cross.packing)

    def absorbs(self, x: torch.Tensor, cross: CrossInput) -> bool:
        """Whether :meth:`absorbed` is possible and takes fewer operations than projecting.

        Args:
            x (Tensor): Queries (P, L, D), or of packed texts (1, T, D).
            cross (CrossInput): What they read.
        """
        states, packing = cross.states, cross.packing
        if not cross.absorb or states is None or cross.weights is not None:
            return False
        pairs, length = x.shape[:2] if packing is None else packing.mask.shape
        if cross.owner is not None or len(states) != pairs:
            return False
        # Another module in the place of a projection (peft's LoRA) has more than a weight.
        if type(self.key) is not nn.Linear or type(self.value) is not nn.Linear:
            return False
        # Multiplications a text and a column of the hidden state.
        count, width = states.shape[1:]
        head_size = x.shape[-1] // self.num_heads
        return length * (width + count * width // head_size) < count * (width + length)

    def absorbed(self, x: torch.Tensor, states: torch.Tensor, cross: CrossInput) -> torch.Tensor:
        """Attend from texts to states that are not projected: text p reads medium p.

        The weights go to the texts' side: ``q.(Wk s + bk) = (q Wk).s + q.bk``, and the values'
        weights to the weighted mean of the states. Text p costs ``L (W + S W H / D)``
        multiplications a column rather than ``S (W + L)``: fewer for a short text and a large
        medium. No key or value is ever held. It takes a weight matrix apart by heads, as
        DeepSeek-V2 does with the cached states of its attention (arXiv:2405.04434, section 2.1).

        Args:
            x (Tensor): Queries (P, L, D), or of packed texts (1, T, D).
            states (Tensor): (P, S, W).
            cross (CrossInput): Mask and further terms, without frame weights.

        Returns:
            Tensor: Of the shape of ``x``, what :meth:`forward` gives for the projected states.
        """
        query = self.query(x) / math.sqrt(x.shape[-1] // self.num_heads)
        query = self.heads(_apart(query, cross.packing))
        pairs, _, length, _ = query.shape
        # (H, P * L, D/H): a matrix product a head, whatever the number of texts.
        by_head = query.transpose(0, 1).flatten(1, 2)
        carried = by_head @ self.key.weight.unflatten(0, (self.num_heads, -1))
        carried = carried.unflatten(1, (pairs, length)).transpose(0, 1).flatten(1, 2)
        logits = (carried @ states.transpose(1, 2)).unflatten(1, (self.num_heads, length))
        if self.key.bias.requires_grad:
            # The same for all states of a query, which the softmax takes out: for the gradient's
            # sake, as of a bias that is added to the keys.
            logits = logits + (query * self.key.bias.view(1, self.num_heads, 1, -1)).sum(-1, True)
        if cross.delta is not None:
            logits = logits + query @ self.heads(cross.delta[0]).transpose(-1, -2)
        if cross.mask is not None:
            logits = logits.masked_fill(~cross.mask[:, None, None], float("-inf"))
        probs = F.dropout(logits.softmax(-1), self.dropout_p)
        mean = probs.flatten(1, 2).to(states.dtype) @ states
        mean = mean.unflatten(1, (self.num_heads, length)).transpose(0, 1).flatten(1, 2)
        out = mean @ self.value.weight.unflatten(0, (self.num_heads, -1)).transpose(1, 2)
        out = out.unflatten(1, (pairs, length)).transpose(0, 1)
        # Dropout scales what is left of the probabilities, so their sum multiplies the bias.
        total = probs.sum(-1, keepdim=True).to(out.dtype)
        out = out + total * self.value.bias.view(1, self.num_heads, 1, -1)
        if cross.delta is not None:
            value = self.heads(cross.delta[1])
            out = out + probs.to(value.dtype) @ value
        return _together(_merge(out), cross.packing)

    def _by_medium(
        self, query: torch.Tensor, kv: KeyValue, cross: CrossInput, packing: Packing
    ) -> torch.Tensor:
        """The texts of each medium side by side, (V, H, Q, D/H): keys and values have no copies."""
        if cross.weights is None:
            mask = None if cross.mask is None else cross.mask[:, None, None]
            return F.scaled_dot_product_attention(
                query, kv.key, kv.value, attn_mask=mask, dropout_p=self.dropout_p
            )
        of_tokens = cross.weights.index_select(0, packing.text)
        return self._weighted(query, kv, cross, packing.unpack(of_tokens[None]))

    def _pairwise(self, query: torch.Tensor, kv: KeyValue, cross: CrossInput) -> torch.Tensor:
        """Text p reads medium owner[p]; query (P, H, L, D/H)."""
        key, value, mask = kv.key, kv.value, cross.mask
        if cross.owner is not None:
            key, value = (t.index_select(0, cross.owner) for t in (key, value))
            mask = None if mask is None else mask[cross.owner]
        if cross.weights is not None:
            factor = cross.weights[:, None, :, None].to(key.dtype)
            if cross.weigh_states:
                key = (key - kv.key_zero) * factor + kv.key_zero
                value = (value - kv.value_zero) * factor + kv.value_zero
            else:
                key = key * factor
        return F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if mask is None else mask[:, None, None],
            dropout_p=self.dropout_p,
        )

    def _one_medium(self, query: torch.Tensor, kv: KeyValue, cross: CrossInput) -> torch.Tensor:
        """All P texts read one medium: fold them into the query axis of one attention."""
        pairs, _, length, _ = query.shape
        folded = query.transpose(0, 1).flatten(1, 2).unsqueeze(0)
        if cross.weights is None:
            mask = None if cross.mask is None else cross.mask[:, None, None]
            out = F.scaled_dot_product_attention(
                folded, kv.key, kv.value, attn_mask=mask, dropout_p=self.dropout_p
            )
        else:
            # Packed texts bring a factor for each token, padded ones a factor for each text.
            repeats = folded.shape[2] // cross.weights.shape[0]
            weights = cross.weights.repeat_interleave(repeats, dim=0)
            out = self._weighted(folded, kv, cross, weights[None])
        return out.squeeze(0).unflatten(1, (pairs, length)).transpose(0, 1)

    def _weighted(
        self, query: torch.Tensor, kv: KeyValue, cross: CrossInput, weights: torch.Tensor
    ) -> torch.Tensor:
        """Attention with a factor (V, Q, S) on the logits; query (V, H, Q, D/H).

        ``q.(A k) = A (q.k)``; with the factor on the states, ``q.(A k0 + b) = A (q.k0) + const``,
        where the constant leaves the softmax unchanged, and values alike.
        """
        media, heads, length, _ = query.shape
        states = kv.key.shape[2]
        limit = _LOGITS_AT_ONCE.get(query.device.type, _LOGITS_AT_ONCE_ELSEWHERE)
        step = max(1, limit // (media * heads * states))
        key = kv.key - kv.key_zero if cross.weigh_states else kv.key
        value = kv.value - kv.value_zero if cross.weigh_states else kv.value
        key = key.transpose(-1, -2)
        query = query / math.sqrt(query.shape[-1])
        hidden = None if cross.mask is None else ~cross.mask[:, None, None]
        outs = []
        for start in range(0, length, step):
            part = slice(start, start + step)
            factor = weights[:, None, part]
            logits = (query[:, :, part] @ key) * factor
            if hidden is not None:
                logits = logits.masked_fill(hidden, float("-inf"))
            probs = F.dropout(logits.softmax(-1), self.dropout_p)
            if not cross.weigh_states:
                outs.append(probs.to(value.dtype) @ value)
                continue
            # Dropout scales what is left of the probabilities, so their sum multiplies the bias.
            total = probs.sum(-1, keepdim=True).to(value.dtype)
            outs.append((probs * factor).to(value.dtype) @ value + total * kv.value_zero)
        return torch.cat(outs, dim=2)


class AttentionOutput(nn.Module):
    """Output projection, residual and post-LayerNorm."""

    def __init__(self, in_size: int, hidden_size: int, eps: float, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(in_size, hidden_size)
        self.LayerNorm = nn.LayerNorm(hidden_size, eps=eps)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: torch.Tensor, residual: torch.Tensor, site: Slot | None = None
    ) -> torch.Tensor:
        """Return ``LN(dense(x) + residual)``, with a term of ``site`` added to ``dense(x)``.

        Args:
            x (Tensor): (B, L, in_size).
            residual (Tensor): (B, L, D), what went into the sub-layer.
            site (Slot, optional): May read ``dense(x)`` or the residual.

        Returns:
            Tensor: (B, L, D).
        """
        out = self.dense(x)
        if site is not None:
            out = site.add(out, out, residual)
        return self.LayerNorm(self.dropout(out) + residual)
