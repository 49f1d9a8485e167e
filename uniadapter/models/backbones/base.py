"""What tasks ask of towers: one protocol a role.

A role is a run of a tower: BLIP's one BERT plays ``text`` and, where it reads a medium, ``fusion``.
A tower says in ``roles`` what it plays, and a task asks ``model.role('fusion')`` rather than a
tower's class. P pairs, T texts, V media of S states, L tokens, widths D and W.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ..active_task import remembering
from ..execution import Factor, KeyValue, PaddedRows, PairMemory, Want, Words
from ..sites import Grid, LayerSites

Past = list[KeyValue]
"""Self-attention's keys and values of earlier tokens, one pair a layer."""


class Begun(NamedTuple):
    """Texts that have come as far as they can without a medium.

    Attributes:
        rows (PaddedRows): How they lie.
        x (Tensor): Their states, as they lie.
    """

    rows: PaddedRows
    x: torch.Tensor


class Tower(Protocol):
    """What every role has."""

    roles: tuple[str, ...]
    num_layers: int

    def sites(self, role: str) -> list[tuple[int, LayerSites]]:
        """Sites of the layers that run in a role, with their numbers from 0."""
        ...

    def local(self, role: str) -> bool:
        """Whether whatever fills them needs of a token that token alone."""
        ...

    def role_layers(self, role: str) -> list[nn.Module]:
        """The layers that run in a role, in order; each is called as a module, once a run."""
        ...


class Visual(Tower, Protocol):
    """Images into tokens."""

    embed_dims: int

    def tokens(self, x: torch.Tensor, want: Want = "all", frames: int = 1) -> torch.Tensor:
        """Tokens of images.

        Args:
            x (Tensor): (B, 3, H, W), normalised.
            want (str): ``'all'`` tokens, or the ``'first'`` of each. Defaults to ``'all'``.
            frames (int): How many images, one after another, are a video. Defaults to 1.

        Returns:
            Tensor: (B, M, D), or (B, 1, D).
        """
        ...


@runtime_checkable
class Staged(Protocol):
    """A visual tower that can be run in parts, of which the lower ones may be kept."""

    layers: Any
    num_layers: int
    training: bool

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, 3, H, W) as the first layer reads them, (B, M, D)."""
        ...

    def grid(self, x: torch.Tensor, frames: int = 1) -> Grid:
        """How the tokens of images lie."""
        ...

    def finish(
        self, x: torch.Tensor, grid: Grid | None, want: Want = "all", start: int = 0
    ) -> torch.Tensor:
        """The layers from number ``start`` on, and what follows the last."""
        ...

    def below(self, layers: int) -> dict[str, torch.Tensor | nn.Module]:
        """What images go through up to the end of the first ``layers``, by name."""
        ...


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
    ) -> PairMemory:
        """Prepare what texts will read.

        Args:
            states (Tensor): (V, S, W).
            mask (Tensor, optional): (V, S), 0 where a state is padding.
            owner (Tensor, optional): (P,) long, the medium that each text reads. None: text p reads
                medium p, or all texts read the only one.
            factor (Factor, optional): Frame weights of the P pairs.

        Returns:
            PairMemory: To be given back to this role.

        Raises:
            ValueError: If a shape is another one than said here.
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
        self,
        words: Words,
        memory: PairMemory,
        want: Want = "all",
        states: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """A whole run: what :meth:`finish` gives of what :meth:`begin` gives.

        Args:
            words (Words): Texts (P, L), ``[CLS]`` first.
            memory (PairMemory): From :meth:`memory`, for P texts.
            want (str): ``'all'`` or ``'first'``. Defaults to ``'all'``.
            states (Tensor, optional): The text role's states (P, L, D) of these words.

        Returns:
            Tensor: (P, L, D), or (P, 1, D) of the first tokens.
        """
        ...

    def begin(
        self, words: Words, states: torch.Tensor | None = None, rows: PaddedRows | None = None
    ) -> Begun:
        """Do what no medium is needed for, so that it is done once for many media.

        Args:
            words (Words): Texts (P, L), ``[CLS]`` first.
            states (Tensor, optional): See :meth:`fuse`.
            rows (PaddedRows, optional): How the texts are to lie. Defaults to as they come.
        """
        ...

    def finish(self, begun: Begun, memory: PairMemory, want: Want = "all") -> torch.Tensor:
        """Go on from :meth:`begin`, reading media; returns what :meth:`fuse` returns."""
        ...


class Decoder(Reader, Protocol):
    """Texts that are predicted word by word while they read states."""

    def states(self, words: Words, memory: PairMemory) -> torch.Tensor:
        """States (P, L, D) behind the last layer, of which :meth:`predict` makes logits."""
        ...

    def predict(self, states: torch.Tensor, wanted: torch.Tensor | None = None) -> torch.Tensor:
        """Logits (P, L, V) of states (P, L, D), or (N, V) of the wanted (P, L) positions."""
        ...

    def logits(
        self,
        words: Words,
        memory: PairMemory,
        past: Past | None = None,
        wanted: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, Past]:
        """Predict the next word at every position.

        Args:
            words (Words): (P, L), the first ``[DEC]``; with ``past`` the mask is of all tokens.
            memory (PairMemory): From :meth:`memory`.
            past (list, optional): Keys and values of earlier tokens.
            wanted (Tensor, optional): (P, L) bool, where logits are wanted. None: everywhere.

        Returns:
            tuple: Logits (P, L, V), or (N, V) of the N wanted positions, row by row; and the keys
            and values of all tokens so far.
        """
        ...


def run_layer(tower: Any, layer: nn.Module, *args: Any) -> torch.Tensor:
    """Run a layer of a tower, recomputed in the backward pass where that is asked for.

    In torch's non-reentrant form: the reentrant one drops the gradients of adapters that sit behind
    a frozen input.
    """
    if tower.grad_checkpointing and tower.training and torch.is_grad_enabled():
        return checkpoint(layer, *args, use_reentrant=False, context_fn=remembering)
    return layer(*args)


def check_states(
    width: int,
    states: torch.Tensor,
    mask: torch.Tensor | None,
    owner: torch.Tensor | None,
    factor: Factor | None,
) -> None:
    """Refuse what is not meant to be read together: broadcasting would read other media.

    Shapes alone are looked at, so that nothing waits for the device.

    Args:
        width (int): W, the ``encoder_width`` of who reads.
        states (Tensor): (V, S, W).
        mask (Tensor, optional): (V, S).
        owner (Tensor, optional): (P,).
        factor (Factor, optional): Of P pairs.

    Raises:
        ValueError: If a shape is another one.
    """
    if states.dim() != 3 or states.shape[-1] != width:
        raise ValueError(
            f"Cross-attention reads states (V, S, {width}), the last number being encoder_width; "
            f"got {tuple(states.shape)}."
        )
    media, count = states.shape[:2]
    if mask is not None and mask.shape != (media, count):
        raise ValueError(
            f"The mask of states of shape {tuple(states.shape)} must be {(media, count)}, got "
            f"{tuple(mask.shape)}."
        )
    if owner is not None and owner.dim() != 1:
        raise ValueError(f"The owner is (P,), one medium a text; got {tuple(owner.shape)}.")
    if factor is None:
        return
    given = factor.weights.shape
    pairs = owner.shape[0] if owner is not None else media if media > 1 else given[0]
    if given != (pairs, count):
        raise ValueError(
            f"Frame weights of {pairs} texts and {media} media of {count} states must have the "
            f"shape {(pairs, count)}, got {tuple(given)}."
        )


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
