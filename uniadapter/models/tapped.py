"""Roles whose runs an adapter takes the place of, reading taps of the tower that plays them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from uniadapter.structures import KeptStates
from uniadapter.utils.modes import evaluating

from .adapters.base import Adapter
from .backbones.base import Begun, Past
from .execution import Factor, PaddedRows, PairMemory, Want, Words
from .fast import EVERY_TOKEN
from .fast.prefix_cache import PrefixCache
from .taps import Call, Read, Taps


class TappedPrefix:
    """Taps of images, for the online and the momentum model; see :meth:`TappedRole.prefix`."""

    def __init__(self, taps: Taps) -> None:
        self.taps = taps

    def finish(
        self, role: TappedRole, images: torch.Tensor, want: Want, frames: int
    ) -> torch.Tensor:
        """What ``role.tokens(images, want, frames)`` gives."""
        return role.tokens(images, want, frames, self.taps)


class _Later(PaddedRows):
    """Words that have not begun to run."""

    def __init__(self, words: Words, states: torch.Tensor | None) -> None:
        super().__init__(words.mask)
        self.words, self.states = words, states


class _Beside:
    """What texts read, and beside it what a side network made of the same.

    Args:
        memory (PairMemory): What the tower reads.
        side (PairMemory): The side network's states, (P, S, h) or (1, S, h).
    """

    def __init__(self, memory: PairMemory, side: PairMemory) -> None:
        self.memory, self.side = memory, side

    def __getattr__(self, name: str) -> Any:
        return getattr(self.memory, name)

    def kept(self) -> _Beside:
        """See :meth:`PairMemory.kept`."""
        return _Beside(self.memory.kept(), self.side)

    def of(self, owner: torch.Tensor) -> _Beside:
        """See :meth:`PairMemory.of`."""
        return _Beside(self.memory.of(owner), self.side.of(owner))


def _read_of(memory: Any) -> Read:
    """What is read, and what stands beside it."""
    states, mask = memory.read()
    return Read(states, mask, memory.side.states if isinstance(memory, _Beside) else None)


class TappedRole:
    """A tower in a role, as :mod:`uniadapter.models.backbones.base` has it, run by an adapter.

    A tap is of every token, each in its place, so nothing is packed, cut off or begun ahead here;
    what the tower has beside its runs (widths, memory) is the tower's.

    Args:
        role (str): The role.
        tower (nn.Module): Who plays it.
        adapter (Adapter): Whose :meth:`~Adapter.run` it is, where it takes this role.
        text (Text, optional): Who plays the text role, of whose states this one is a continuation.
    """

    def __init__(self, role: str, tower: Any, adapter: Adapter, text: Any = None) -> None:
        self.role, self.tower, self.adapter, self.text = role, tower, adapter, text

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tower, name)

    def local(self, role: str) -> bool:
        """No state of a token is known from that token alone."""
        return False

    def prefix(self, images: torch.Tensor, cache: PrefixCache | None = None) -> TappedPrefix:
        """Taps of images (B, 3, H, W): one pass for the online and the momentum model.

        Args:
            images (Tensor): (B, 3, H, W), normalised.
            cache (PrefixCache, optional): Where the states of all layers are kept; not in training
                with the tower's dropout on.
        """
        drawn = self.adapter.tower_dropout and self.tower.training
        if cache is None or drawn:
            return TappedPrefix(self._visual(images, None, 1).taps())
        tower = self.tower
        with evaluating(tower), torch.no_grad():
            states = cache(tower, images, tower.num_layers, every=True).unbind(1)
            out = tower.finish(states[-1], tower.grid(images), "all", tower.num_layers)
        return TappedPrefix(Taps(states, out))

    def tokens(
        self, x: torch.Tensor, want: Want = "all", frames: int = 1, taps: Taps | None = None
    ) -> torch.Tensor:
        """Encode images (B, 3, H, W): (B, M, D), or (B, 1, D) of the first tokens."""
        return self._led(self._visual(x, taps, frames), want)

    def _visual(self, x: torch.Tensor, taps: Taps | None, frames: int) -> Call:
        def run() -> torch.Tensor:
            return self.tower.tokens(x, frames=frames)

        return self._call(run, taps=taps)

    def states(self, words: Words, want: Want = "all") -> torch.Tensor:
        """See :class:`~uniadapter.models.backbones.base.Text`."""
        return self._led(self._words(words), want)

    def _words(self, words: Words) -> Call:
        place = self.tower.place(words)

        def run() -> torch.Tensor:
            states = self.tower.states(words)
            # A tower that puts what stands for a text in front has it once more behind.
            return states if place is None else states[:, 1:]

        return self._call(run, words.mask, place)

    def keep_frames(self, images: torch.Tensor, layers: Sequence[int], want: Want) -> KeptStates:
        """States of images (B, 3, H, W) to be kept on disk; :meth:`kept` goes on from them.

        Args:
            images (Tensor): (B, 3, H, W), normalised.
            layers (Sequence[int]): Which layers, 0 being the embedding.
            want (str): Of what the tower gives, ``'all'`` tokens or the ``'first'``.
        """
        return self._keep(self._visual(images, None, 1), layers, want)

    def keep_words(self, words: Words, layers: Sequence[int], want: Want) -> KeptStates:
        """States of texts to be kept on disk; see :meth:`keep_frames`."""
        return self._keep(self._words(words), layers, want)

    def _keep(self, call: Call, layers: Sequence[int], want: Want) -> KeptStates:
        taps = call.taps()
        hidden = torch.stack([taps.hidden[layer] for layer in layers], 1)
        out = _in_front(taps.out, call.place)
        return KeptStates(hidden, out if want == "all" else out[:, :1])

    def kept(
        self, states: KeptStates, layers: Sequence[int], want: Want, words: Words | None = None
    ) -> torch.Tensor:
        """What a run gives whose states were kept: the tower computes nothing.

        Args:
            states (KeptStates): Of the same rows, texts padded as ``words`` are.
            layers (Sequence[int]): Which layers they are of.
            want (str): ``'all'`` tokens, if they were kept, or the ``'first'``.
            words (Words, optional): The texts.
        """
        # What nobody reads is not there.
        hidden = [states.hidden[:, :0, 0]] * (len(self.tower.role_layers(self.role)) + 1)
        for place, layer in enumerate(layers):
            hidden[layer] = states.hidden[:, place]
        mask, token = None, None
        if words is not None:
            mask, token = words.mask, self.tower.place(words)
        call = self._call(lambda: states.out, mask, token)
        call.remember(Taps(tuple(hidden), states.out, mask, token))
        found = self.adapter.run(self.role, self.tower, call)
        return found if want == "all" else found[:, :1]

    def fuse(
        self,
        words: Words,
        memory: Any,
        want: Want = "all",
        states: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See :class:`~uniadapter.models.backbones.base.Fusion`."""
        if states is None and self.text is not None:
            states = self.text.states(words)

        def run() -> torch.Tensor:
            with _plainly(self.tower):
                return self.tower.fuse(words, memory, "all", states)

        mask = memory.joined(words.mask)
        call = self._call(run, mask, reads=lambda: _read_of(memory))
        return self._led(call, want)

    def memory(
        self,
        states: torch.Tensor,
        mask: torch.Tensor | None = None,
        owner: torch.Tensor | None = None,
        factor: Factor | None = None,
    ) -> Any:
        """See :class:`~uniadapter.models.backbones.base.Reader`.

        An encoder's side network may put states of its own behind the tower's, (V, S, W + h): they
        are read by the side network of this role alone.
        """
        width = self.tower.encoder_width
        with _plainly(self.tower):
            memory = self.tower.memory(states[..., :width], mask, owner, factor)
        if not self.adapter.takes(self.role) or states.shape[-1] <= width:
            return memory
        side = states[..., width:]
        return _Beside(memory, PairMemory(side if owner is None else side[owner]))

    def begin(
        self, words: Words, states: torch.Tensor | None = None, rows: PaddedRows | None = None
    ) -> Begun:
        """Nothing: all of a run is in :meth:`finish`."""
        return Begun(_Later(words, states), words.ids)

    def finish(self, begun: Begun, memory: Any, want: Want = "all") -> torch.Tensor:
        """See :class:`~uniadapter.models.backbones.base.Fusion`."""
        later: Any = begun.rows
        return self.fuse(later.words, memory, want, later.states)

    def logits(
        self,
        words: Words,
        memory: Any,
        past: Past | None = None,
        wanted: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, Past]:
        """See :class:`~uniadapter.models.backbones.base.Decoder`.

        A side network may look at all states before a word, so that each word is a run of the whole
        text: what is kept of the words before it is themselves.
        """
        ids, mask = words
        if past is not None:
            ids = torch.cat((past[0][0], ids), 1)

        def run() -> torch.Tensor:
            return self.tower.states(Words(ids, mask), memory)

        states = self._led(self._call(run, mask, reads=lambda: _read_of(memory)), "all")
        new = states[:, -words.ids.shape[1] :]
        return self.tower.predict(new, wanted), [(ids, ids)]

    def _call(self, run: Callable[[], torch.Tensor], *args: Any, **options: Any) -> Call:
        layers: list[nn.Module] = self.tower.role_layers(self.role)
        call = Call(self.tower, layers, run, *args, **options)
        call.dropout = self.adapter.tower_dropout
        return call

    def _led(self, call: Call, want: Want) -> torch.Tensor:
        """What the adapter makes of a run, behind the token that stands for the whole."""
        taken = self.adapter.takes(self.role)
        states = self.adapter.run(self.role, self.tower, call) if taken else call()
        states = _in_front(states, call.place)
        return states if want == "all" else states[:, :1]


def _in_front(states: torch.Tensor, place: torch.Tensor | None) -> torch.Tensor:
    """States (B, L, D) with the one that stands for a row in front, where it is not the first."""
    if place is None:
        return states
    rows = torch.arange(states.shape[0], device=states.device)
    return torch.cat((states[rows, place][:, None], states), 1)


@contextmanager
def _plainly(tower: Any) -> Iterator[None]:
    """Let a tower compute every token, each in its place, inside the context."""
    before = tower.execution
    tower.execution = EVERY_TOKEN
    try:
        yield
    finally:
        tower.execution = before
