"""How towers run: what passes between a task and the roles it asks."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch

Want = Literal["all", "first"]
"""Which states of a run are read: those of all tokens, or those of the first ones alone."""


class Words(NamedTuple):
    """Texts as a tower reads them.

    Attributes:
        ids (Tensor): Word ids (T, L).
        mask (Tensor, optional): (T, L), 0 where a token is padding. None: there is no padding.
    """

    ids: torch.Tensor
    mask: torch.Tensor | None = None


class Factor(NamedTuple):
    """Frame weights of pairs (PFA), one a state.

    Attributes:
        weights (Tensor): (P, S), of every state for every text.
        on_states (bool): Whether they multiply the states, hence keys and values before their
            biases (paper eq. 8), or the finished keys only (released code).
    """

    weights: torch.Tensor
    on_states: bool
