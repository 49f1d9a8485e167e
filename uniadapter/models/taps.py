"""Taps: the states of a tower's layers, read without a graph, and the runs that leave them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import nn

from uniadapter.utils.modes import evaluating


class Taps(NamedTuple):
    """What a run of a tower left behind, without a graph.

    Attributes:
        hidden (tuple[Tensor]): What went into the first layer and what came out of each, ``depth +
            1`` tensors (B, L, D).
        out (Any): What the tower returned.
        mask (Tensor, optional): (B, L), 0 where a token is padding. None: all are real, or nobody
            said.
        place (Tensor, optional): (B,) long, the token that stands for the whole. None: the first.
    """

    hidden: tuple[torch.Tensor, ...]
    out: Any
    mask: torch.Tensor | None = None
    place: torch.Tensor | None = None


def first_tensor(value: Any) -> torch.Tensor:
    """The tensor itself, or the first entry of a layer's tuple of outputs."""
    return value[0] if isinstance(value, tuple | list) else value


def last_output(out: Any) -> torch.Tensor:
    """The states of a backbone's last layer in what it returns.

    Raises:
        ValueError: If there are none: no tensor, tuple of one, or output with a
            ``last_hidden_state``.
    """
    found = out.get("last_hidden_state") if isinstance(out, Mapping) else out
    if isinstance(found, tuple | list) and len(found) == 1:
        found = found[0]
    if not isinstance(found, torch.Tensor):
        raise ValueError(
            f"An adapter that takes the place of a backbone's run gives one tensor, and this "
            f"backbone returns {_describe(out)}: let it return its last layer's output alone."
        )
    return found


def in_form_of(states: torch.Tensor, out: Any) -> Any:
    """States (B, L, D) as a backbone returns its own.

    Args:
        states (Tensor): (B, L, D); or what has the number of dimensions of the backbone's.
        out (Any): What the backbone returned: a tensor (B, L, D), (B, D) of the first token or (B,
            D, H, W) of the last H * W tokens, a tuple of it, or an output with a
            ``last_hidden_state``, whose other entries are of the backbone and are left out.

    Raises:
        ValueError: If it returned something else.
    """
    own = last_output(out)
    if states.dim() == 3 and own.dim() == 2:
        states = states[:, 0]
    elif states.dim() == 3 and own.dim() == 4:
        size = own.shape[-2:]
        states = states[:, -size.numel() :].transpose(1, 2).unflatten(2, size)
    if states.dim() != own.dim():
        raise ValueError(
            f"States {tuple(states.shape)} can't stand for the backbone's {tuple(own.shape)}."
        )
    kind: Any = type(out)
    if isinstance(out, Mapping):
        return kind(last_hidden_state=states)
    return kind([states]) if isinstance(out, tuple | list) else states


def _describe(out: Any) -> str:
    if isinstance(out, Mapping):
        return f"{type(out).__name__} with {list(out)}"
    if isinstance(out, tuple | list):
        return f"{len(out)} of them"
    return type(out).__name__


class Recorder:
    """Reads the states of layers by hooks, in one pass without a graph.

    Args:
        layers (Sequence[nn.Module]): The layers in the order in which they run.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self.layers = list(layers)
        if not self.layers:
            raise ValueError("There is no layer to read states of.")

    @torch.no_grad()
    def __call__(self, run: Callable[[], Any]) -> Taps:
        """Run the tower.

        Args:
            run (Callable): Calls the tower, whatever its arguments.

        Returns:
            Taps: The states, none of which requires a gradient.

        Raises:
            RuntimeError: If a layer did not run, or ran several times: a fast path that computes
                less, or a layer that is shared, gives no state a layer.
        """
        found: dict[int, torch.Tensor] = {}
        times = dict.fromkeys(range(1, len(self.layers) + 1), 0)

        def enter(_: nn.Module, args: tuple, kwargs: dict) -> None:
            found.setdefault(0, args[0] if args else next(iter(kwargs.values())))

        def leave(number: int) -> Callable[..., None]:
            def hook(_: nn.Module, __: Any, out: Any) -> None:
                times[number] += 1
                found[number] = first_tensor(out)

            return hook

        handles = [self.layers[0].register_forward_pre_hook(enter, with_kwargs=True)]
        try:
            for number, layer in enumerate(self.layers, 1):
                handles.append(layer.register_forward_hook(leave(number)))
            out = run()
        finally:
            for handle in handles:
                handle.remove()
        odd = [number for number, count in times.items() if count != 1]
        if odd:
            raise RuntimeError(
                f"Layers {odd} (counted from 1) ran another number of times than once, so their "
                "states are not those of one pass."
            )
        return Taps(tuple(found[number].detach() for number in range(len(self.layers) + 1)), out)


class Call:
    """A run of a tower that an adapter may read taps of, or take the place of.

    Args:
        tower (nn.Module): The tower.
        layers (Sequence[nn.Module]): Those that run in this role.
        run (Callable): Runs it; returns states (B, L, D) in the order of the tokens.
        mask (Tensor, optional): (B, L), 0 where a token is padding.
        place (Tensor, optional): (B,) long, see :class:`Taps`.
        reads (Callable, optional): Makes :meth:`reads`.
        taps (Taps, optional): Of a run of the same tokens, where there was one.

    Attributes:
        dropout (bool): Whether taps are read with the tower's dropout on, where it is on.
    """

    def __init__(
        self,
        tower: nn.Module,
        layers: Sequence[nn.Module],
        run: Callable[[], torch.Tensor],
        mask: torch.Tensor | None = None,
        place: torch.Tensor | None = None,
        reads: Callable[[], Read] | None = None,
        taps: Taps | None = None,
    ) -> None:
        self.dropout = False
        self.tower, self.layers, self.mask, self.place = tower, layers, mask, place
        self._run, self._reads, self._taps = run, reads, taps

    def __call__(self) -> torch.Tensor:
        """The tower's own states (B, L, D)."""
        return self._run()

    def taps(self) -> Taps:
        """The states of all layers of one run without a graph, by default in evaluation mode.

        Frozen layers would only add noise by their dropout, and with it every run would differ.
        """
        if self._taps is None:
            with nullcontext() if self.dropout else evaluating(self.tower):
                hidden, out, *_ = Recorder(self.layers)(self._run)
            # A tower that can't run nothing runs a row that is not there.
            hidden = tuple(state[: out.shape[0]] for state in hidden)
            self._taps = Taps(hidden, out.detach(), self.mask, self.place)
        return self._taps

    def remember(self, taps: Taps) -> None:
        """Take these for the states of this run."""
        self._taps = taps

    def reads(self) -> Read | None:
        """What the texts read by cross-attention, with the graph that leads there.

        Returns:
            Read: States and mask; None for a run that reads nothing.
        """
        return None if self._reads is None else self._reads()


class Read(NamedTuple):
    """What texts read, text by text.

    Attributes:
        states (Tensor): (B, S, W), or (1, S, W) where all texts read the same.
        mask (Tensor, optional): The same without W, False where a state is padding.
        side (Tensor, optional): What a side network made of the same states, (B or 1, S, h).
    """

    states: torch.Tensor
    mask: torch.Tensor | None = None
    side: torch.Tensor | None = None
