"""What the tests of the prefix cache share."""

from __future__ import annotations

import torch

from tests.model_helpers import adapter_cfg, randomize, tiny_batch, tiny_model

FRAMES = 6


def build(folder, seed=0, adapter=adapter_cfg(layers="2"), options=None, **overrides):  # noqa: B008
    cache = None if folder is None else {"dir": str(folder), **(options or {})}
    return randomize(tiny_model(seed, adapter=adapter, prefix_cache=cache, **overrides), std=0.1)


def entries(folder):
    return sorted(folder.rglob("*.prefix"))


def counts(model):
    """Hits and misses of one look at the same pixels."""
    cache = model.prefix_cache
    before = cache.hits, cache.misses
    with torch.no_grad():
        model.encode_frames(tiny_batch()["pixels"])
    return cache.hits - before[0], cache.misses - before[1]
