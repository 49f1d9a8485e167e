"""Texts packed one behind the other, without padding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn import functional as F

from ..execution import KeyValue, PaddedRows, Want, visible


class _Pick(torch.autograd.Function):
    """Rows (T, ...) of ``x`` (R, ...); no row is picked twice, so gradients need no sums."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(rows)
        ctx.count = len(x)
        return x.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _Place.apply(gradient, ctx.saved_tensors[0], ctx.count), None


class _Place(torch.autograd.Function):
    """The inverse of :class:`_Pick`: ``x`` (T, ...) at its rows among ``count``, zeros around."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, rows: torch.Tensor, count: int) -> torch.Tensor:
        ctx.save_for_backward(rows)
        return x.new_zeros(count, *x.shape[1:]).index_copy_(0, rows, x)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return _Pick.apply(gradient, ctx.saved_tensors[0]), None, None


@dataclass(frozen=True)
class Packing:
    """Where the tokens of P texts stand in a row of T = sum of their lengths.

    Everything that acts on single tokens, and attention to something all texts read alike, runs on
    the packed row (1, T, D); only self-attention needs the texts apart. Apart they are as wide as
    the longest of them, L, however wide they were padded before: :meth:`trim` cuts those.

    Attributes:
        text (Tensor): (T,) long, the text each token belongs to.
        position (Tensor): (T,) long, its position in that text.
        first (Tensor): (P,) long, where each text begins in the row.
        place (Tensor): (T,) long, where each token stands among P * L padded ones.
        mask (Tensor): (P, L) bool, False where a text has ended.
    """

    text: torch.Tensor
    position: torch.Tensor
    first: torch.Tensor
    place: torch.Tensor
    mask: torch.Tensor

    @staticmethod
    def lengths(attention_mask: torch.Tensor) -> torch.Tensor | None:
        """Lengths (P,) of texts by their mask (P, W).

        None unless all padding is on the right, and where there is no text or an empty one.
        """
        mask = visible(attention_mask)
        lengths = mask.sum(1)
        positions = torch.arange(mask.shape[1], device=mask.device)
        if not mask.numel():
            return None
        packable = (mask == (positions < lengths[:, None])).all() and (lengths > 0).all()
        return lengths if bool(packable) else None

    @classmethod
    def of(cls, lengths: torch.Tensor) -> Packing:
        """Pack texts of the given lengths (P,); L is the longest.

        Raises:
            ValueError: If there is no text, or one of no token.
        """
        # Read at once: on a GPU either of them would be waited for.
        shortest, longest = torch.stack(lengths.aminmax()).tolist() if len(lengths) else (0, 0)
        if shortest < 1:
            raise ValueError(
                f"Packing needs texts of at least one token, got lengths {lengths.tolist()}."
            )
        positions = torch.arange(longest, device=lengths.device)
        first = lengths.cumsum(0) - lengths
        mask = positions[None] < lengths[:, None]
        text, position = mask.nonzero(as_tuple=True)
        return cls(text, position, first, text * mask.shape[1] + position, mask)

    @classmethod
    def of_mask(cls, attention_mask: torch.Tensor | None, padded_only: bool) -> Packing | None:
        """Pack texts by their mask (P, W); None unless all padding is on the right.

        With ``padded_only`` None as well where there is no padding at all.
        """
        lengths = None if attention_mask is None else cls.lengths(attention_mask)
        if attention_mask is None or lengths is None:
            return None
        if padded_only and bool((lengths == attention_mask.shape[1]).all()):
            return None
        return cls.of(lengths)

    def trim(self, texts: torch.Tensor) -> torch.Tensor:
        """Cut padded texts (P, W) to the longest, (P, L).

        Raises:
            ValueError: If there are not P of them, or they are narrower than the longest.
        """
        count, longest = self.mask.shape
        if texts.shape[0] != count or texts.shape[1] < longest:
            raise ValueError(
                f"A packing of {count} texts of up to {longest} tokens does not fit texts of "
                f"shape {tuple(texts.shape)}: make it from the mask of these texts."
            )
        return texts[:, :longest]

    def by_medium(self, owner: torch.Tensor, media: int) -> Packing:
        """The same row, taken apart into the tokens that read each medium rather than texts.

        Args:
            owner (Tensor): (P,) long, the medium each text reads.
            media (int): Their number V.

        Returns:
            Packing: :meth:`unpack` gives (V, Q, ...) with a medium's tokens side by side.

        Raises:
            ValueError: If there is not one owner a text, or an owner is none of the media.
        """
        if owner.shape != self.first.shape:
            raise ValueError(
                f"{len(self.first)} texts need as many owners, got {tuple(owner.shape)}."
            )
        medium = owner[self.text]
        counts = torch.bincount(medium, minlength=media)
        if len(counts) > media:
            raise ValueError(f"A text reads medium {len(counts) - 1}, but there are {media} media.")
        order = medium.argsort(stable=True)
        place = torch.empty_like(order)
        before = (counts.cumsum(0) - counts)[medium[order]]
        place[order] = torch.arange(len(order), device=order.device) - before
        positions = torch.arange(int(counts.max()), device=owner.device)
        mask = positions[None] < counts[:, None]
        return replace(self, place=medium * mask.shape[1] + place, mask=mask)

    def pack(self, x: torch.Tensor) -> torch.Tensor:
        """Turn (P, L, ...) into the row (1, T, ...).

        Raises:
            ValueError: If ``x`` is of another shape: its tokens would stand elsewhere.
        """
        if x.shape[:2] != self.mask.shape:
            raise ValueError(
                f"A packing of shape {tuple(self.mask.shape)} (texts, longest text) does not fit a "
                f"tensor of shape {tuple(x.shape)}: cut it with Packing.trim first."
            )
        return _Pick.apply(x.flatten(0, 1), self.place)[None]

    def unpack(self, x: torch.Tensor) -> torch.Tensor:
        """Turn the row (1, T, ...) into (P, L, ...), zero behind a text's end.

        Raises:
            ValueError: If the row has another number of tokens.
        """
        if x.shape[0] != 1 or x.shape[1] != len(self.place):
            raise ValueError(
                f"A packing of {len(self.place)} tokens does not fit a row of shape "
                f"{tuple(x.shape)}."
            )
        padded = _Place.apply(x[0], self.place, self.mask.numel())
        return padded.unflatten(0, self.mask.shape)

    def only_first(self) -> Packing:
        """The packing of the texts' first tokens alone."""
        return Packing.of(torch.ones_like(self.first))


class FirstRows(PaddedRows):
    """Padded texts of which only the first tokens are read: the last layer computes them alone."""

    def last(self, want: Want) -> PaddedRows:
        """See the base class."""
        return _OnlyFirst(self) if want == "first" else self


class _OnlyFirst(PaddedRows):
    def __init__(self, rows: PaddedRows) -> None:
        super().__init__()
        self.mask = rows.mask

    def asking(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :1]


class PackedRows(PaddedRows):
    """Texts behind each other without their padding: layers see one row (1, T, D).

    Only attention takes the texts apart.

    Args:
        packing (Packing): Where their tokens stand.
        width (int): As wide as the texts were padded; :meth:`out` gives that back.
        first (bool): Whether the last layer may compute the first tokens alone. Defaults to True.
        reads (tuple, optional): The owner (P,) of a memory of several media and their number, for
            :meth:`by_medium`: made here, once for all layers and outside of what is compiled.
        asks (Packing, optional): The tokens that ask. Defaults to all.
    """

    def __init__(
        self,
        packing: Packing,
        width: int,
        first: bool = True,
        reads: tuple[torch.Tensor, int] | None = None,
        asks: Packing | None = None,
    ) -> None:
        super().__init__()
        self.mask = packing.mask[:, None, None]
        self.packing, self.width, self.first, self.reads = packing, width, first, reads
        self.asks = packing if asks is None else asks
        self._known: dict[str, tuple[torch.Tensor, Any]] = {}
        if reads is not None:
            self.by_medium(*reads)

    def shape(self, x: torch.Tensor) -> tuple[int, int]:
        """See the base class."""
        return self.asks.mask.shape[0], self.asks.mask.shape[1]

    def lay(self, x: torch.Tensor) -> torch.Tensor:
        """See the base class."""
        return self.packing.pack(self.packing.trim(x))

    def last(self, want: Want) -> PaddedRows:
        """See the base class."""
        if want == "all" or not self.first:
            return self
        return PackedRows(self.packing, self.width, True, self.reads, self.packing.only_first())

    def asking(self, x: torch.Tensor) -> torch.Tensor:
        """See the base class."""
        return x if self.asks is self.packing else x[:, self.packing.first]

    def seen(self, attention: Any, x: torch.Tensor, index: int) -> KeyValue:
        """See the base class."""
        key, value = (self.packing.unpack(part(x)) for part in (attention.key, attention.value))
        return attention.heads(key), attention.heads(value)

    def apart(self, x: torch.Tensor) -> torch.Tensor:
        """See the base class."""
        return self.asks.unpack(x)

    def together(self, x: torch.Tensor) -> torch.Tensor:
        """See the base class."""
        return self.asks.pack(x)

    def by_medium(self, owner: torch.Tensor, media: int) -> Packing:
        """The tokens that ask, taken apart by the medium that they read; made once a run."""
        return self._once("medium", owner, lambda: self.asks.by_medium(owner, media))

    def of_tokens(self, of_texts: torch.Tensor) -> torch.Tensor:
        """What there is of every text (P, ...), for every token that asks; made once a run."""
        if self.asks is not self.packing:
            return of_texts
        return self._once("tokens", of_texts, lambda: of_texts.index_select(0, self.asks.text))

    def _once(self, name: str, of: torch.Tensor, make: Callable[[], Any]) -> Any:
        # All layers of a run ask for the same.
        if name not in self._known or self._known[name][0] is not of:
            self._known[name] = (of, make())
        return self._known[name][1]

    def out(self, x: torch.Tensor, want: Want) -> torch.Tensor:
        """See the base class."""
        if want == "first":
            first = x if self.asks is not self.packing else x[:, self.packing.first]
            return first.transpose(0, 1)
        states = self.packing.unpack(x)
        # As wide as the texts that were given, which may be padded beyond the longest.
        missing = self.width - states.shape[1]
        return F.pad(states, (0, 0, 0, missing)) if missing else states
