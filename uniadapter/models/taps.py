"""Taps: the states of a tower's layers, read without a graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn


class Taps(NamedTuple):
    """What a run of a tower left behind, without a graph.

    Attributes:
        hidden (tuple[Tensor]): What went into the first layer and what came out of each, ``depth +
            1`` tensors (B, L, D).
        out (Any): What the tower returned.
    """

    hidden: tuple[torch.Tensor, ...]
    out: Any


def first_tensor(value: Any) -> torch.Tensor:
    """The tensor itself, or the first entry of a layer's tuple of outputs."""
    return value[0] if isinstance(value, tuple | list) else value


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
