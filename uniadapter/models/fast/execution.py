"""The six methods of an execution, as fast as they get: each switch may take its way or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, replace
from typing import Any

import torch

from ..execution import Execution, Factor, PaddedRows, PairMemory, Want
from ..scoring import Scorer
from .at_once import gradients_at_once
from .memory import AbsorbedMemory, SharedMemory
from .packing import FirstRows, PackedRows, Packing
from .prefix import Prefix
from .prefix_cache import PrefixCache
from .rerank import FoldedScorer
from .switches import FastPaths


class FastExecution(Execution):
    """Gives the numbers of the plain one by the ways that are switched on.

    A fast path steps aside where what fills a site is not local, or a module was replaced.

    Args:
        switches (FastPaths): Which ways.
        cache (PrefixCache, optional): Where tokens of frozen visual layers are kept.
    """

    def __init__(self, switches: FastPaths, cache: PrefixCache | None = None) -> None:
        self.switches, self.cache = switches, cache
        # Of the step that is being made: its pixels, and what was computed of them.
        self._step: tuple[torch.Tensor, Prefix | None] | None = None

    @property
    def shares_frozen_layers(self) -> bool:
        """As the switch says, where the layers are not kept on disk."""
        return self.switches.share_prefix and self.cache is None

    def rows(
        self,
        mask: torch.Tensor | None,
        local: bool = True,
        memory: PairMemory | None = None,
        padding: bool = True,
    ) -> PaddedRows:
        """Packed where there is padding, or texts that share a medium; see the base class."""
        if not local:
            return PaddedRows(mask)
        if self.switches.pack_texts and not padding:
            # Texts of one medium share an attention, whether or not there is padding.
            reads = memory.shared() if isinstance(memory, SharedMemory) else None
            packing = Packing.of_mask(mask, padded_only=reads is None)
            if packing is not None and mask is not None:
                return PackedRows(packing, mask.shape[1], self.switches.class_tokens, reads)
        return FirstRows(mask) if self.switches.class_tokens else PaddedRows(mask)

    def memory(
        self,
        tower: Any,
        states: torch.Tensor,
        mask: torch.Tensor | None = None,
        owner: torch.Tensor | None = None,
        factor: Factor | None = None,
    ) -> PairMemory:
        """Media without a copy a text, projected anew or not at all; see the base class."""
        switches = self.switches
        if _keys_in_front(tower):
            return super().memory(tower, states, mask, owner, factor)
        if owner is None:
            kind = AbsorbedMemory if switches.absorb_kv else SharedMemory
            return kind(states, mask, factor, tower.kv_slot.term)
        # Media are large next to their texts; what a decoder's answers read is not.
        recompute = switches.recompute_kv and "fusion" in tower.roles
        media: torch.Tensor = owner
        shared: torch.Tensor | None = None
        if switches.share_kv:
            media, shared = torch.unique(owner, return_inverse=True)
        states, mask = states[media], None if mask is None else mask[media]
        return SharedMemory(states, mask, factor, tower.kv_slot.term, shared, recompute)

    @contextmanager
    def step(self, tower: Any, pixels: torch.Tensor) -> Iterator[None]:
        """Both models of the step continue from what is frozen; see the base class."""
        # A prefix has no graph, and computing it here is right for the mode of the online model:
        # what draws at random in training is no part of it.
        if self.switches.share_prefix and not _graph_wanted(pixels):
            images = pixels.flatten(0, 1)
            self._step = (pixels, Prefix.of(tower, images, self._cache_of(tower)))
        try:
            yield
        finally:
            self._step = None

    @contextmanager
    def continued(self, pixels: torch.Tensor, prefix: Prefix) -> Iterator[None]:
        """Inside the context a run of these pixels goes on from a prefix that is known already.

        Args:
            pixels (Tensor): (B, N, 3, H, W).
            prefix (Prefix): Of their frames.
        """
        self._step = (pixels, prefix)
        try:
            yield
        finally:
            self._step = None

    def visual(self, tower: Any, pixels: torch.Tensor, want: Want = "all") -> torch.Tensor:
        """Continued from what is frozen, the first token alone in the last layer where wanted."""
        (batch, frames), images = pixels.shape[:2], pixels.flatten(0, 1)
        computed: Want = want if self.switches.class_tokens else "all"
        prefix = self._prefix(tower, pixels)
        if prefix is None:
            tokens = tower.tokens(images, computed, frames)
        else:
            tokens = prefix.finish(tower, images, computed, frames)
        return (tokens if want == "all" else tokens[:, :1]).unflatten(0, (batch, frames))

    def _prefix(self, tower: Any, pixels: torch.Tensor) -> Prefix | None:
        if self._step is not None and self._step[0] is pixels:
            return self._step[1]
        cache = self._cache_of(tower)
        if cache is None or _graph_wanted(pixels):
            return None
        return Prefix.of(tower, pixels.flatten(0, 1), cache)

    def _cache_of(self, tower: Any) -> PrefixCache | None:
        cache = self.cache
        return None if cache is None or (tower.training and not cache.train) else cache

    def logits(
        self,
        head: Callable[[torch.Tensor], torch.Tensor],
        hidden: torch.Tensor,
        wanted: torch.Tensor,
    ) -> torch.Tensor:
        """The vocabulary, as large as several layers, only where a word is to be predicted."""
        if not self.switches.predicted_only:
            return super().logits(head, hidden, wanted)
        return head(hidden[wanted])

    def loss(self, function: Callable[..., torch.Tensor], *tensors: torch.Tensor) -> torch.Tensor:
        """The gradients are taken in the forward pass; see the base class."""
        if self.switches.contrast_at_once and torch.is_grad_enabled():
            return gradients_at_once(function, *tensors)
        return super().loss(function, *tensors)

    def scorer(self, model: Any, ids: torch.Tensor, mask: torch.Tensor, chunk: int) -> Scorer:
        """See the base class."""
        if not self.switches.fold_texts or _keys_in_front(model.role("fusion")):
            return super().scorer(model, ids, mask, chunk)
        return FoldedScorer(model, ids, mask, chunk, self.switches.first_layer_once)


def _keys_in_front(tower: Any) -> bool:
    """Whether texts attend to more than what they read, which no shared medium holds."""
    return any(sites.cross_keys.filled for _, sites in tower.sites("fusion"))


def _graph_wanted(pixels: torch.Tensor) -> bool:
    """Whether someone wants a graph from tokens to pixels, which nothing that is kept has."""
    return pixels.requires_grad and torch.is_grad_enabled()


def execution_of(switches: FastPaths, cache: PrefixCache | None) -> Execution:
    """The execution of a model: the plain one where nothing is fast and nothing is kept."""
    plain = cache is None and not any(astuple(switches))
    return Execution() if plain else FastExecution(switches, cache)


EVERY_TOKEN = FastExecution(replace(FastPaths.build(False), share_kv=True))
"""Computes every token, each in its place, for whoever reads taps; media have no copies a pair."""
