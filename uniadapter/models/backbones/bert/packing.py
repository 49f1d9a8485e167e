"""Texts packed one behind the other, without padding."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Packing:
    """Where the tokens of P texts stand in a row of T = sum of their lengths.

    Everything that acts on single tokens, and attention to something all texts read alike, runs on
    the packed row (1, T, D); only self-attention needs the texts apart.

    Attributes:
        text (Tensor): (T,) long, the text each token belongs to.
        position (Tensor): (T,) long, its position in that text.
        first (Tensor): (P,) long, where each text begins in the row.
        index (Tensor): (P, L) long, the row of each token, 0 where a text has ended.
        mask (Tensor): (P, L) bool, False where a text has ended.
    """

    text: torch.Tensor
    position: torch.Tensor
    first: torch.Tensor
    index: torch.Tensor
    mask: torch.Tensor

    @staticmethod
    def lengths(attention_mask: torch.Tensor) -> torch.Tensor | None:
        """Lengths (P,) of texts by their mask (P, L); None unless all padding is on the right."""
        mask = attention_mask.bool()
        lengths = mask.sum(1)
        positions = torch.arange(mask.shape[1], device=mask.device)
        packable = (mask == (positions < lengths[:, None])).all() and (lengths > 0).all()
        return lengths if bool(packable) else None

    @classmethod
    def of(cls, lengths: torch.Tensor) -> Packing:
        """Pack texts of the given lengths (P,), each at least 1."""
        positions = torch.arange(int(lengths.max()), device=lengths.device)
        first = lengths.cumsum(0) - lengths
        mask = positions[None] < lengths[:, None]
        text, position = mask.nonzero(as_tuple=True)
        index = (first[:, None] + positions) * mask
        return cls(text, position, first, index, mask)

    def pack(self, x: torch.Tensor) -> torch.Tensor:
        """Turn (P, L, ...) into the row (1, T, ...)."""
        return x[self.text, self.position][None]

    def unpack(self, x: torch.Tensor) -> torch.Tensor:
        """Turn the row (1, T, ...) into (P, L, ...), with anything behind a text's end."""
        return x[0][self.index]

    def only_first(self) -> Packing:
        """The packing of the texts' first tokens alone."""
        return Packing.of(torch.ones_like(self.first))
