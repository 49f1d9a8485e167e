"""What tasks ask of towers: one protocol a role.

A role is a run of a tower: BLIP's one BERT plays ``text`` and, where it reads a medium, ``fusion``.
A tower says in ``roles`` what it plays, and a task asks ``model.role('fusion')`` rather than a
tower's class. P pairs, T texts, V media of S states, L tokens, widths D and W.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import nn

from ..execution import Factor, Want, Words

Past = list[tuple[torch.Tensor, torch.Tensor]]
"""Self-attention's keys and values of earlier tokens, one pair a layer."""


class Begun(NamedTuple):
    """Texts that have come as far as they can without a medium.

    Attributes:
        rows (Any): How they lie.
        x (Tensor): Their states, as they lie.
    """

    rows: Any
    x: torch.Tensor


class Tower(Protocol):
    """What every role has."""

    roles: tuple[str, ...]
    num_layers: int

    def role_layers(self, role: str) -> list[nn.Module]:
        """The layers that run in a role, in order; each is called as a module, once a run."""
        ...


class Visual(Tower, Protocol):
    """Images into tokens."""

    embed_dims: int


class Text(Tower, Protocol):
    """Texts on their own."""

    hidden_size: int

    def place(self, words: Words) -> torch.Tensor | None:
        """Where the token that stands for a text is, (T,) long; None where it is the first.

        Elsewhere :meth:`states` puts its state in front of those of all tokens.
        """
        ...

    def states(self, words: Words, want: Want = "all") -> torch.Tensor:
        """States (T, L, D) of texts, or (T, 1, D) of their first tokens."""
        ...


class Reader(Tower, Protocol):
    """A role whose texts read states by cross-attention."""

    hidden_size: int
    encoder_width: int

    def memory(
        self,
        states: torch.Tensor,
        mask: torch.Tensor | None = None,
        owner: torch.Tensor | None = None,
        factor: Factor | None = None,
    ) -> Any:
        """Prepare what texts will read.

        Args:
            states (Tensor): (V, S, W).
            mask (Tensor, optional): (V, S), 0 where a state is padding.
            owner (Tensor, optional): (P,) long, the medium that each text reads. None: text p reads
                medium p, or all texts read the only one.
            factor (Factor, optional): Frame weights of the P pairs.

        Returns:
            Memory: To be given back to this role; a task does not look inside.
        """
        ...


class Fusion(Reader, Protocol):
    """Texts that read media.

    Attributes:
        takes_states (bool): Whether it continues from the text role's states of all tokens, which
            whoever has them then hands over; without them it computes them from the words.
    """

    takes_states: bool

    def fuse(
        self, words: Words, memory: Any, want: Want = "all", states: torch.Tensor | None = None
    ) -> torch.Tensor:
        """A whole run: what :meth:`finish` gives of what :meth:`begin` gives.

        Args:
            words (Words): Texts (P, L), ``[CLS]`` first.
            memory (Memory): From :meth:`memory`, for P texts.
            want (str): ``'all'`` or ``'first'``. Defaults to ``'all'``.
            states (Tensor, optional): The text role's states (P, L, D) of these words.

        Returns:
            Tensor: (P, L, D), or (P, 1, D) of the first tokens.
        """
        ...

    def begin(
        self, words: Words, states: torch.Tensor | None = None, rows: Any | None = None
    ) -> Begun:
        """Do what no medium is needed for, so that it is done once for many media.

        Args:
            words (Words): Texts (P, L), ``[CLS]`` first.
            states (Tensor, optional): See :meth:`fuse`.
            rows (Any, optional): How the texts are to lie. Defaults to as they come.
        """
        ...

    def finish(self, begun: Begun, memory: Any, want: Want = "all") -> torch.Tensor:
        """Go on from :meth:`begin`, reading media; returns what :meth:`fuse` returns."""
        ...


class Decoder(Reader, Protocol):
    """Texts that are predicted word by word while they read states."""

    def logits(
        self,
        words: Words,
        memory: Any,
        past: Past | None = None,
        wanted: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, Past]:
        """Predict the next word at every position.

        Args:
            words (Words): (P, L), the first ``[DEC]``; with ``past`` the mask is of all tokens.
            memory (Memory): From :meth:`memory`.
            past (list, optional): Keys and values of earlier tokens.
            wanted (Tensor, optional): (P, L) bool, where logits are wanted. None: everywhere.

        Returns:
            tuple: Logits (P, L, V), or (N, V) of the N wanted positions, row by row; and the keys
            and values of all tokens so far.
        """
        ...


_PURPOSE = {
    "visual": "encode images",
    "text": "encode texts on their own",
    "fusion": "have texts read media",
    "decoder": "write words",
}


def playing(role: str, tower: Any, task: str) -> Any:
    """A tower, if it plays the role that a task needs.

    Args:
        role (str): Name of the role.
        tower (nn.Module, optional): The tower that would.
        task (str): Name of the task's class, for the error.

    Returns:
        The tower.

    Raises:
        ValueError: If there is no tower, or it does not play the role.
    """
    need = f"{task} needs a tower to {_PURPOSE[role]} (the role {role!r})"
    key = "text" if role == "fusion" else role
    if tower is None:
        raise ValueError(f"{need}, and there is none: set model.{key}.")
    plays = getattr(tower, "roles", ())
    if role in plays:
        return tower
    name = type(tower).__name__
    if role == "fusion":
        raise ValueError(
            f"{need}, and {name} has no cross-attention: name another tower in model.text, or, "
            "for retrieval, set model.matching=None and rank by similarity alone (k_test=0)."
        )
    raise ValueError(f"{need}, and {name} plays {list(plays)}: name another tower in model.{key}.")
