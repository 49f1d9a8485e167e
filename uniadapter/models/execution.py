"""How towers run, the plain way: every token of every text, every pair by itself.

A task and a tower leave open *how* something is computed: an :class:`Execution` says it. Two words
are all that the plain model needs. **Rows** are how texts lie while layers run over them and which
tokens see each other. **Memory** is what the texts of a run read by cross-attention, frame weights
included. What is only faster overrides these six methods elsewhere (``models/fast``) and gives the
same numbers; what stands here is the model.

P pairs (a text and what it reads), T texts, V media of S states, L tokens, widths D and W, H heads.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from typing import Any, Literal, NamedTuple

import torch

from .scoring import Scorer

Want = Literal["all", "first"]
"""Which states of a run are read: those of all tokens, or those of the first ones alone."""

KeyValue = tuple[torch.Tensor, torch.Tensor]
"""Keys and values by head, each (B, H, L, D/H)."""


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


def visible(mask: torch.Tensor) -> torch.Tensor:
    """A mask of texts or states as bool, True where a token is.

    Raises:
        ValueError: If a mask of floats holds anything but 0 and 1, as one to be added to logits.
    """
    if mask.is_floating_point() and not bool(((mask == 0) | (mask == 1)).all()):
        raise ValueError(
            "An attention_mask holds 1 where a token is and 0 at padding; this one of "
            f"{mask.dtype} holds other numbers, as masks do that are added to logits."
        )
    return mask.bool()


def cached(past: list[KeyValue] | None) -> int:
    """Tokens that have run before, whose keys and values are remembered."""
    return 0 if past is None else past[0][0].shape[2]


class PaddedRows:
    """Texts side by side, each as wide as the widest: layers see (T, L, D).

    Args:
        mask (Tensor, optional): (T, L), 0 where a token is padding, which nothing attends to.
    """

    def __init__(self, mask: torch.Tensor | None = None) -> None:
        self.mask = None if mask is None else visible(mask)[:, None, None]
        # Tokens of these texts that have run before, and are remembered.
        self.before = 0

    def shape(self, x: torch.Tensor) -> tuple[int, int]:
        """Number of texts, and of tokens that ask in the longest of them, in what layers see."""
        return x.shape[0], x.shape[1]

    def lay(self, x: torch.Tensor) -> torch.Tensor:
        """Texts (T, L, D) as layers see them."""
        return x

    def last(self, want: Want) -> PaddedRows:
        """The rows of the last layer, of whose output ``want`` is read."""
        return self

    def asking(self, x: torch.Tensor) -> torch.Tensor:
        """Of what a layer sees, the tokens whose output it computes."""
        return x

    def attend(self, attention: Any, x: torch.Tensor, index: int) -> torch.Tensor:
        """Self-attention of layer ``index``: the tokens that ask attend to all of their text."""
        query = attention.heads(self.apart(attention.query(self.asking(x))))
        key, value = self.seen(attention, x, index)
        return self.together(attention.attend(query, key, value, self.mask))

    def seen(self, attention: Any, x: torch.Tensor, index: int) -> KeyValue:
        """Keys and values of all tokens, text by text, for the self-attention of a layer."""
        return attention.heads(attention.key(x)), attention.heads(attention.value(x))

    def apart(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens that ask, text by text: (T, L, D), as attention takes them."""
        return x

    def together(self, x: torch.Tensor) -> torch.Tensor:
        """The inverse of :meth:`apart`."""
        return x

    def out(self, x: torch.Tensor, want: Want) -> torch.Tensor:
        """What the last layer gave, as (T, L, D), or (T, 1, D) of the first tokens."""
        return x if want == "all" else x[:, :1]


class CausalRows(PaddedRows):
    """Texts that are predicted word by word: a token sees itself and earlier ones.

    Args:
        length (int): New tokens L.
        mask (Tensor, optional): (T, past + L), 0 where a token is padding.
        past (list, optional): Keys and values of the tokens before, one pair a layer.
        keep (bool): Whether :attr:`present` is wanted. Defaults to True.

    Attributes:
        present (list): Keys and values of all tokens, one pair a layer, after a run.
    """

    def __init__(
        self,
        length: int,
        mask: torch.Tensor | None,
        past: list[KeyValue] | None,
        device: torch.device,
        keep: bool = True,
    ) -> None:
        super().__init__(mask)
        self.before = cached(past)
        place = torch.arange(self.before + length, device=device)
        earlier = place[None] <= place[self.before :, None]
        self.mask = earlier if self.mask is None else self.mask & earlier
        self.past, self.keep = past, keep
        self.present: list[KeyValue] = []

    def seen(self, attention: Any, x: torch.Tensor, index: int) -> KeyValue:
        """Those of earlier tokens and the new ones; see the base class."""
        key, value = super().seen(attention, x, index)
        if self.past is not None:
            key = torch.cat((self.past[index][0], key), dim=2)
            value = torch.cat((self.past[index][1], value), dim=2)
        # A layer that is recomputed in the backward pass comes by once more.
        if self.keep and index == len(self.present):
            self.present.append((key, value))
        return key, value


class PairMemory:
    """What texts read by cross-attention: text p reads medium p, or all read the only one.

    Args:
        states (Tensor): (P, S, W), or (1, S, W).
        mask (Tensor, optional): (P, S), 0 where a state is padding.
        factor (Factor, optional): Frame weights A of the pairs.
        term (Callable, optional): What an adapter adds to keys and values, each (P, S, D), of the
            states that they are projected from.
    """

    def __init__(
        self,
        states: torch.Tensor,
        mask: torch.Tensor | None = None,
        factor: Factor | None = None,
        term: Callable[[torch.Tensor], KeyValue | None] | None = None,
    ) -> None:
        self.mask = None if mask is None else visible(mask)
        self.factor = factor
        if factor is not None and factor.on_states:
            # Paper eq. 8: K = (A s) Wk + bk, V = (A s) Wv + bv.
            states = states * factor.weights[..., None].to(states.dtype)
        self.states = states
        self.term = None if term is None else term(states)
        self._kept: dict[int, Any] | None = None

    @property
    def texts(self) -> int:
        """How many texts may read it; 1: any number."""
        return self.states.shape[0]

    def check(self, texts: int) -> None:
        """Refuse other numbers of texts: broadcasting would read other media.

        Raises:
            ValueError: If neither one medium nor one a text is read.
        """
        if self.texts not in (1, texts):
            raise ValueError(
                f"{texts} texts read {self.texts} media: give one medium, one a text, or the owner "
                "(which medium a text reads)."
            )

    def read(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """States and mask, text by text; one row where all read the same."""
        return self.states, self.mask

    def joined(self, mask: torch.Tensor | None) -> torch.Tensor | None:
        """The mask of a run's tokens, of the texts' (P, L): what is read across is none of them."""
        return mask

    def attend(self, attention: Any, x: torch.Tensor, index: int, rows: PaddedRows) -> torch.Tensor:
        """Cross-attention of layer ``index``; of the shape of ``x``, the tokens that ask."""
        query = attention.heads(rows.apart(attention.query(x)))
        key, value = (
            part.expand(query.shape[0], -1, -1, -1) for part in self.projected(attention, index)
        )
        return rows.together(attention.attend(query, key, value, self.visible))

    @property
    def visible(self) -> torch.Tensor | None:
        """Which states are seen, (P, 1, 1, S) bool."""
        return None if self.mask is None else self.mask[:, None, None]

    def projected(self, attention: Any, index: int) -> Any:
        """Keys and values of layer ``index``, by head."""
        if self._kept is None:
            return self._project(attention)
        if index not in self._kept:
            self._kept[index] = self._project(attention)
        return self._kept[index]

    def _project(self, attention: Any) -> Any:
        key, value = attention.key(self.states), attention.value(self.states)
        if self.term is not None:
            key, value = key + self.term[0], value + self.term[1]
        if self.factor is not None and not self.factor.on_states:
            # The released code's place for A.
            key = key * self.factor.weights[..., None].to(key.dtype)
        return attention.heads(key), attention.heads(value)

    def kept(self) -> PairMemory:
        """The same, to be read in many runs: keys and values stay from the first run on."""
        part = copy(self)
        part._kept = {}
        return part

    def of(self, owner: torch.Tensor) -> PairMemory:
        """What other texts read: text p what text ``owner[p]`` would."""
        part = copy(self)
        # What all read alike has no copies.
        owner = owner if self.texts > 1 else torch.zeros_like(owner)
        part.states = self.states[owner]
        part.mask = None if self.mask is None else self.mask[owner]
        part.term = None if self.term is None else (self.term[0][owner], self.term[1][owner])
        if self.factor is not None:
            part.factor = self.factor._replace(weights=self.factor.weights[owner])
        if self._kept is not None:
            part._kept = {i: tuple(t[owner] for t in kv) for i, kv in self._kept.items()}
        return part


class Execution:
    """The plain way. The model builds its execution once and gives it to its towers and heads."""

    @property
    def shares_frozen_layers(self) -> bool:
        """Whether visual layers before the first adapter may run once for several runs."""
        return False

    def rows(
        self,
        mask: torch.Tensor | None,
        local: bool = True,
        memory: PairMemory | None = None,
        padding: bool = True,
    ) -> PaddedRows:
        """How texts lie in a run over a tower's layers.

        Args:
            mask (Tensor, optional): (T, L), 0 where a token is padding.
            local (bool): Whether whatever fills the run's sites needs of a token that token alone.
            memory (PairMemory, optional): What the texts will read.
            padding (bool): Whether the states at padding will be looked at.
        """
        return PaddedRows(mask)

    def memory(
        self,
        tower: Any,
        states: torch.Tensor,
        mask: torch.Tensor | None = None,
        owner: torch.Tensor | None = None,
        factor: Factor | None = None,
    ) -> PairMemory:
        """What the texts of a run of ``tower`` read; arguments as of a role's ``memory``."""
        if owner is not None:
            states, mask = states[owner], None if mask is None else mask[owner]
        return PairMemory(states, mask, factor, tower.kv_slot.term)

    def step(self, tower: Any, pixels: torch.Tensor) -> AbstractContextManager[None]:
        """A training step in which two models see the same pixels (B, N, 3, H, W).

        What an execution remembers of a step ends with it; the plain one remembers nothing.
        """
        return nullcontext()

    def visual(self, tower: Any, pixels: torch.Tensor, want: Want = "all") -> torch.Tensor:
        """Tokens (B, N, M, D) of pixels (B, N, 3, H, W); M = 1, the first token, by ``want``."""
        batch, frames = pixels.shape[:2]
        tokens = tower.tokens(pixels.flatten(0, 1), frames=frames)
        return (tokens if want == "all" else tokens[:, :1]).unflatten(0, (batch, frames))

    def logits(
        self,
        head: Callable[[torch.Tensor], torch.Tensor],
        hidden: torch.Tensor,
        wanted: torch.Tensor,
    ) -> torch.Tensor:
        """What ``head`` makes of states (P, L, D) at the N wanted positions (P, L): (N, V)."""
        return head(hidden)[wanted]

    def loss(self, function: Callable[..., torch.Tensor], *tensors: torch.Tensor) -> torch.Tensor:
        """A loss of tensors, all else it needs being constant."""
        return function(*tensors)

    def scorer(self, model: Any, ids: torch.Tensor, mask: torch.Tensor, chunk: int) -> Scorer:
        """Scores one medium after another against texts (T, L), ``chunk`` of them at a time."""
        return Scorer(model, ids, mask, chunk)
