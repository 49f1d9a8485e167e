"""Seeds and states of the random number generators that a training process draws from."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def mix_seed(*parts: int) -> int:
    """Mix integers into one seed of 32 bits.

    Args:
        *parts: E.g. seed, epoch, iteration and rank. Neighbouring numbers give unrelated seeds.

    Returns:
        The seed.
    """
    return int(np.random.SeedSequence([int(part) for part in parts]).generate_state(1)[0])


def seed_generators(seed: int) -> None:
    """Seed Python's, numpy's and torch's (all devices') default generators.

    Args:
        seed: At most 32 bits.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def generator_states() -> dict[str, Any]:
    """States of this process's default generators, as plain values that a checkpoint may hold.

    Returns:
        ``python``, ``numpy`` and ``torch``; ``cuda``, of the current device, where there is one.
    """
    kind, keys, *position = np.random.get_state()
    states: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": [kind, np.asarray(keys).tolist(), *position],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def set_generator_states(states: dict[str, Any]) -> None:
    """Go on drawing where :func:`generator_states` was called.

    Args:
        states: What it returned; a ``cuda`` state is left out on a machine without.
    """
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, *position = states["numpy"]
    np.random.set_state((kind, np.asarray(keys, dtype=np.uint32), *position))
    torch.set_rng_state(states["torch"].cpu())
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"].cpu())
