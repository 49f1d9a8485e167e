"""What cross-attention reads: states of media, projected or not, and who reads which."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from .packing import Packing

Delta = tuple[torch.Tensor, torch.Tensor]


class KeyValue(NamedTuple):
    """Projected cross-attention states of one layer.

    Attributes:
        key (Tensor): (V, H, S, D/H).
        value (Tensor): (V, H, S, D/H).
        key_zero (Tensor): What an all-zero state projects to, (1, H, 1, D/H).
        value_zero (Tensor): The same for the value.
    """

    key: torch.Tensor
    value: torch.Tensor
    key_zero: torch.Tensor
    value_zero: torch.Tensor


@dataclass(frozen=True)
class CrossInput:
    """What the cross-attention of P texts reads, the same for every layer.

    Attributes:
        states (Tensor, optional): (V, S, W); projected inside each layer.
        projected (list[KeyValue], optional): One a layer, instead of projecting ``states``.
        delta (tuple, optional): Terms (key, value) of shape (V, S, D) added after projection.
        delta_zero (tuple, optional): What ``delta`` is for an all-zero state, each (1, 1, D).
        owner (Tensor, optional): (P,) long; text p reads medium ``owner[p]``. None: text p reads
            medium p, or all texts read the only medium.
        mask (Tensor, optional): (V, S) bool, False where a state is padding.
        weights (Tensor, optional): (P, S) factor of each state for each text (PFA); (T, S), one a
            token, when the texts are packed.
        weigh_states (bool): Whether the factor is on the states, hence on keys and values before
            their biases (paper eq. 8), or on the finished keys only (released code).
        recompute (bool): Whether the backward pass projects, gathers and weighs keys and values
            anew, so that neither they nor copies a pair are kept.
        absorb (bool): Whether states may be read without projecting them where that takes fewer
            operations, see :meth:`CrossAttention.absorbed`.
        packing (Packing, optional): How the texts are packed, where they don't all read the only
            medium; with an owner by medium.
    """

    states: torch.Tensor | None = None
    projected: list[KeyValue] | None = None
    delta: Delta | None = None
    delta_zero: Delta | None = None
    owner: torch.Tensor | None = None
    mask: torch.Tensor | None = None
    weights: torch.Tensor | None = None
    weigh_states: bool = False
    recompute: bool = False
    absorb: bool = False
    packing: Packing | None = None

    def size(self) -> tuple[int, int]:
        """Number of media V, and of states of each of them S.

        Raises:
            ValueError: If there are neither states nor projected keys and values.
        """
        if self.states is not None:
            return self.states.shape[0], self.states.shape[1]
        if not self.projected:
            raise ValueError("CrossInput needs states or projected keys and values.")
        key = self.projected[0].key
        return key.shape[0], key.shape[2]

    def check(self, texts: int) -> None:
        """Refuse what is not meant for so many texts: broadcasting would read other media.

        Shapes alone are looked at, so that nothing waits for the device.

        Args:
            texts (int): P.

        Raises:
            ValueError: If a shape is another one than this class documents.
        """
        media, count = self.size()
        if self.owner is None and media not in (1, texts):
            raise ValueError(
                f"{texts} texts read {media} media: give one medium, one a text, or the owner "
                "(which medium a text reads)."
            )
        wanted = {"owner": (texts,), "mask": (media, count), "weights": (texts, count)}
        for name, shape in wanted.items():
            given = getattr(self, name)
            if given is not None and given.shape != shape:
                raise ValueError(
                    f"Cross-attention of {texts} texts to {media} media of {count} states needs "
                    f"{name} of shape {shape}, got {tuple(given.shape)}."
                )

    def packed(self, packing: Packing) -> CrossInput:
        """Return a copy for packed texts."""
        if self.owner is not None:
            packing = packing.by_medium(self.owner, self.size()[0])
        return replace(self, packing=packing)

    def of_first_tokens(self) -> CrossInput:
        """Return a copy for the texts' first tokens alone, where they are packed."""
        return self if self.packing is None else self.packed(self.packing.only_first())

    def with_weights(self, weights: torch.Tensor | None, weigh_states: bool) -> CrossInput:
        """Return a copy with other frame weights (P, S)."""
        return replace(self, weights=weights, weigh_states=weigh_states)
