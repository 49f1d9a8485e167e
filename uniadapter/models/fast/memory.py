"""What texts read, without a copy of it a text.

Keys and values of a medium are projected once for all texts that read it. Who reads which is an
*arrangement*: pair by pair, all texts folded into the query axis of one medium, or the texts of
each medium side by side. Frame weights (PFA) are a factor on the logits, and in the paper's variant
on the probabilities as well, so that neither needs a copy of the states a text.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy
from typing import Any, NamedTuple

import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ..active_task import remembering
from ..execution import Factor, KeyValue, PaddedRows, PairMemory
from ..linears import intact
from .packing import PackedRows

# Logits (heads x queries x states) that weighted attention holds at once: on a CPU what stays in
# its cache, on a GPU what fills it.
_LOGITS_AT_ONCE = {"cpu": 1 << 22}
_LOGITS_AT_ONCE_ELSEWHERE = 1 << 28


class Projected(NamedTuple):
    """Keys and values of media in one layer, and those of an all-zero state.

    Attributes:
        key (Tensor): (V, H, S, D/H).
        value (Tensor): (V, H, S, D/H).
        key_zero (Tensor): (1, H, 1, D/H).
        value_zero (Tensor): (1, H, 1, D/H).
    """

    key: torch.Tensor
    value: torch.Tensor
    key_zero: torch.Tensor
    value_zero: torch.Tensor


def _constant(projection: Any, states: torch.Tensor) -> torch.Tensor:
    """What an all-zero state projects to, (1, 1, D)."""
    # Another module in the place of a linear one (peft's LoRA) may add something of its own.
    return projection.bias.view(1, 1, -1) if intact(projection) else projection(_zero(states))


def _zero(states: torch.Tensor) -> torch.Tensor:
    return states.new_zeros(1, 1, states.shape[-1])


class SharedMemory(PairMemory):
    """Media that are projected once each, whoever reads them.

    Args:
        states (Tensor): (V, S, W).
        mask (Tensor, optional): (V, S), 0 where a state is padding.
        factor (Factor, optional): Frame weights of the P texts.
        term (Callable, optional): What an adapter adds to keys and values of states; affine in a
            state, as frame weights on the states are taken behind it.
        owner (Tensor, optional): (P,) long, the medium that each text reads. None: text p reads
            medium p, or all texts read the only one.
        recompute (bool): Whether the backward pass projects, gathers and weighs keys and values
            anew, so that neither they nor copies a pair are kept. Defaults to False.
    """

    def __init__(
        self,
        states: torch.Tensor,
        mask: torch.Tensor | None = None,
        factor: Factor | None = None,
        term: Callable[[torch.Tensor], KeyValue | None] | None = None,
        owner: torch.Tensor | None = None,
        recompute: bool = False,
    ) -> None:
        super().__init__(states, mask, None, term)
        self.factor, self.owner, self.recompute = factor, owner, recompute
        self.term_zero = None if term is None or self.term is None else term(_zero(states))

    @property
    def texts(self) -> int:
        """See the base class."""
        if self.owner is not None:
            return self.owner.shape[0]
        count = self.states.shape[0]
        one = count == 1
        return self.factor.weights.shape[0] if one and self.factor is not None else count

    def shared(self) -> tuple[torch.Tensor, int] | None:
        """Which medium each text reads, and the number of media; None without an owner."""
        return None if self.owner is None else (self.owner, self.states.shape[0])

    def read(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """See the base class; without frame weights."""
        if self.owner is None:
            return self.states, self.mask
        return self.states[self.owner], None if self.mask is None else self.mask[self.owner]

    def attend(self, attention: Any, x: torch.Tensor, index: int, rows: PaddedRows) -> torch.Tensor:
        """See the base class."""
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(
                self._attend,
                attention,
                x,
                index,
                rows,
                use_reentrant=False,
                context_fn=remembering,
            )
        return self._attend(attention, x, index, rows)

    def _attend(
        self, attention: Any, x: torch.Tensor, index: int, rows: PaddedRows
    ) -> torch.Tensor:
        kv = self.projected(attention, index)
        if self.owner is not None and isinstance(rows, PackedRows):
            return self._by_medium(attention, x, kv, rows, self.owner)
        if self.owner is None and kv.key.shape[0] == 1:
            return self._folded(attention, x, kv, rows)
        return self._pairwise(attention, x, kv, rows)

    def _project(self, attention: Any) -> Projected:
        """Keys and values without frame weights."""
        key, value = attention.key(self.states), attention.value(self.states)
        key_zero, value_zero = (
            _constant(part, self.states) for part in (attention.key, attention.value)
        )
        if self.term is not None and self.term_zero is not None:
            key, value = key + self.term[0], value + self.term[1]
            key_zero, value_zero = key_zero + self.term_zero[0], value_zero + self.term_zero[1]
        return Projected(*map(attention.heads, (key, value, key_zero, value_zero)))

    def kept(self) -> SharedMemory:
        """See the base class."""
        part = SharedMemory.__new__(SharedMemory)
        part.__dict__.update(self.__dict__, recompute=False, _kept={})
        return part

    def of(self, owner: torch.Tensor) -> SharedMemory:
        """See the base class; no medium is copied."""
        part = copy(self)
        part.owner = owner if self.owner is None else self.owner[owner]
        if self.factor is not None:
            part.factor = self.factor._replace(weights=self.factor.weights[owner])
        return part

    def weighted(self, factor: Factor | None) -> SharedMemory:
        """The same media with other frame weights."""
        part = copy(self)
        part.factor = factor
        return part

    def _pairwise(
        self, attention: Any, x: torch.Tensor, kv: Projected, rows: PaddedRows
    ) -> torch.Tensor:
        """Text p reads medium ``owner[p]``, or medium p."""
        query = attention.heads(rows.apart(attention.query(x)))
        key, value, mask = kv.key, kv.value, self.visible
        if self.owner is not None:
            key, value = (t.index_select(0, self.owner) for t in (key, value))
            mask = None if mask is None else mask[self.owner]
        if self.factor is not None:
            factor = self.factor.weights[:, None, :, None].to(key.dtype)
            if self.factor.on_states:
                key = (key - kv.key_zero) * factor + kv.key_zero
                value = (value - kv.value_zero) * factor + kv.value_zero
            else:
                key = key * factor
        return rows.together(attention.attend(query, key, value, mask))

    def _folded(
        self, attention: Any, x: torch.Tensor, kv: Projected, rows: PaddedRows
    ) -> torch.Tensor:
        """All texts read one medium: their tokens are one query axis, packed or not."""
        query = attention.heads(attention.query(x.flatten(0, 1)[None]))
        if self.factor is None:
            out = attention.attend(query, kv.key, kv.value, self.visible)
        else:
            weights = self.factor.weights
            if isinstance(rows, PackedRows):
                weights = rows.of_tokens(weights)
            else:
                weights = weights.repeat_interleave(x.shape[1], dim=0)
            out = attention.merge(self._weigh(attention, query, kv, weights[None]))
        return out.reshape(x.shape)

    def _by_medium(
        self,
        attention: Any,
        x: torch.Tensor,
        kv: Projected,
        rows: PackedRows,
        owner: torch.Tensor,
    ) -> torch.Tensor:
        """The texts of each medium side by side, (V, Q, D)."""
        grid = rows.by_medium(owner, kv.key.shape[0])
        query = attention.heads(grid.unpack(attention.query(x)))
        if self.factor is None:
            return grid.pack(attention.attend(query, kv.key, kv.value, self.visible))
        weights = grid.unpack(self.factor.weights.index_select(0, grid.text)[None])
        return grid.pack(attention.merge(self._weigh(attention, query, kv, weights)))

    def _weigh(
        self, attention: Any, query: torch.Tensor, kv: Projected, weights: torch.Tensor
    ) -> torch.Tensor:
        """Attention with a factor (V, Q, S) on the logits; query and output (V, H, Q, D/H).

        ``q.(A k) = A (q.k)``; with the factor on the states, ``q.(A k0 + b) = A (q.k0) + const``,
        where the constant leaves the softmax unchanged, and values alike.
        """
        on_states = self.factor is not None and self.factor.on_states
        media, heads, length, _ = query.shape
        limit = _LOGITS_AT_ONCE.get(query.device.type, _LOGITS_AT_ONCE_ELSEWHERE)
        step = max(1, limit // (media * heads * kv.key.shape[2]))
        key = kv.key - kv.key_zero if on_states else kv.key
        value = kv.value - kv.value_zero if on_states else kv.value
        key = key.transpose(-1, -2)
        query = query / math.sqrt(query.shape[-1])
        mask = self.visible
        outs = []
        for start in range(0, length, step):
            part = slice(start, start + step)
            factor = weights[:, None, part]
            logits = (query[:, :, part] @ key) * factor
            if mask is not None:
                logits = logits.masked_fill(~mask, float("-inf"))
            probs = F.dropout(logits.softmax(-1), attention.dropout_p)
            if not on_states:
                outs.append(probs.to(value.dtype) @ value)
                continue
            # Dropout scales what is left of the probabilities, so their sum multiplies the bias.
            total = probs.sum(-1, keepdim=True).to(value.dtype)
            outs.append((probs * factor).to(value.dtype) @ value + total * kv.value_zero)
        return torch.cat(outs, dim=2)


class AbsorbedMemory(SharedMemory):
    """Text p reads medium p, and no state is projected where that takes fewer operations.

    The weights go to the texts' side: ``q.(Wk s + bk) = (q Wk).s + q.bk``, and the values' weights
    to the weighted mean of the states. Text p costs ``L (W + S W H / D)`` multiplications a column
    rather than ``S (W + L)``: fewer for a short text and a large medium. No key or value is ever
    held. It takes a weight matrix apart by heads, as DeepSeek-V2 does with the cached states of its
    attention (arXiv:2405.04434, section 2.1).
    """

    def _attend(
        self, attention: Any, x: torch.Tensor, index: int, rows: PaddedRows
    ) -> torch.Tensor:
        if not self.shorter(attention, *rows.shape(x)):
            return super()._attend(attention, x, index, rows)
        return self._absorbed(attention, x, rows)

    def shorter(self, attention: Any, texts: int, length: int) -> bool:
        """Whether it is possible and takes fewer operations than projecting, a text and a column.

        Args:
            attention (nn.Module): The attention.
            texts (int): P.
            length (int): L, tokens of the longest text.
        """
        if self.owner is not None or self.factor is not None or len(self.states) != texts:
            return False
        if not intact(attention.key, attention.value):
            return False
        count, width = self.states.shape[1:]
        head_size = attention.key.out_features // attention.num_heads
        return length * (width + count * width // head_size) < count * (width + length)

    def _absorbed(self, attention: Any, x: torch.Tensor, rows: PaddedRows) -> torch.Tensor:
        states, heads = self.states, attention.num_heads
        query = attention.query(x) / math.sqrt(x.shape[-1] // heads)
        query = attention.heads(rows.apart(query))
        pairs, _, length, _ = query.shape
        # (H, P * L, D/H): a matrix product a head, whatever the number of texts.
        by_head = query.transpose(0, 1).flatten(1, 2)
        carried = by_head @ attention.key.weight.unflatten(0, (heads, -1))
        carried = carried.unflatten(1, (pairs, length)).transpose(0, 1).flatten(1, 2)
        logits = (carried @ states.transpose(1, 2)).unflatten(1, (heads, length))
        if attention.key.bias.requires_grad:
            # The same for all states of a query, which the softmax takes out: for the gradient's
            # sake, as of a bias that is added to the keys.
            logits = logits + (query * attention.key.bias.view(1, heads, 1, -1)).sum(-1, True)
        if self.term is not None:
            logits = logits + query @ attention.heads(self.term[0]).transpose(-1, -2)
        mask = self.visible
        if mask is not None:
            logits = logits.masked_fill(~mask, float("-inf"))
        probs = F.dropout(logits.softmax(-1), attention.dropout_p)
        mean = probs.flatten(1, 2).to(states.dtype) @ states
        mean = mean.unflatten(1, (heads, length)).transpose(0, 1).flatten(1, 2)
        out = mean @ attention.value.weight.unflatten(0, (heads, -1)).transpose(1, 2)
        out = out.unflatten(1, (pairs, length)).transpose(0, 1)
        # Dropout scales what is left of the probabilities, so their sum multiplies the bias.
        total = probs.sum(-1, keepdim=True).to(out.dtype)
        out = out + total * attention.value.bias.view(1, heads, 1, -1)
        if self.term is not None:
            value = attention.heads(self.term[1])
            out = out + probs.to(value.dtype) @ value
        return rows.together(attention.merge(out))
