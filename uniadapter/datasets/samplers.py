"""Batches whose pictures all lie or all stand, so that they can be stacked."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.dataset import DefaultSampler
from torch.utils.data import Sampler

from ..registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class OrientedBatchSampler(Sampler[list[int]]):
    """Batches of one orientation, the same steps on all ranks.

    The items of each orientation, in the order of the inner sampler's epoch, are cut into chunks of
    ``batch_size`` times the number of ranks, of which rank r takes every item ``r::ranks``, as
    MMEngine's ``DefaultSampler`` deals single items: several ranks see in a step what one rank with
    as large a batch sees. The chunks are shuffled where the sampler shuffles.

    The last chunk of each orientation is smaller. With ``drop_last`` it is left out. Else, where
    the sampler rounds up, it is filled with the orientation's first items until all ranks have
    alike many, and where it does not (testing) ranks may have different numbers of items and
    batches.

    Args:
        sampler: A ``DefaultSampler`` over a data set with ``lying()``, which says of each item
            whether its picture lies; its options (shuffle, seed, round_up) and its epoch are taken.
        batch_size: Items of a batch on each rank.
        drop_last: Leave smaller chunks out. Defaults to False.

    Raises:
        ValueError: If the sampler is of another kind, the data set can't say how its pictures lie,
            or the batch size is not positive.
    """

    def __init__(self, sampler: DefaultSampler, batch_size: int, drop_last: bool = False) -> None:
        if not isinstance(sampler, DefaultSampler):
            raise ValueError(
                f"OrientedBatchSampler deals items as DefaultSampler does, and sampler.type is "
                f"{type(sampler).__name__!r}: set it to 'DefaultSampler'."
            )
        if not hasattr(sampler.dataset, "lying"):
            raise ValueError(
                f"{type(sampler.dataset).__name__} has no lying(), which says of each item whether "
                "its picture is no higher than wide: use a data set that has, such as LxmertVQA."
            )
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"batch_size={batch_size!r} must be an int of at least 1.")
        self.sampler: Any = sampler
        self.batch_size, self.drop_last = batch_size, drop_last
        self._lying: list[bool] = sampler.dataset.lying()

    def _sizes(self) -> list[int]:
        """Items of each orientation."""
        lying = sum(self._lying)
        return [lying, len(self._lying) - lying]

    def _own(self, chunk: int) -> int:
        """Items that this rank has of a chunk."""
        world, rank = self.sampler.world_size, self.sampler.rank
        if self.sampler.round_up:
            return math.ceil(chunk / world)
        return max(0, math.ceil((chunk - rank) / world))

    def __len__(self) -> int:
        """Batches of this rank."""
        whole = self.batch_size * self.sampler.world_size
        count = sum(size // whole for size in self._sizes())
        if self.drop_last:
            return count
        return count + sum(self._own(size % whole) > 0 for size in self._sizes())

    def __iter__(self) -> Iterator[list[int]]:
        """This rank's batches of the sampler's epoch."""
        own: Any = self.sampler
        generator = torch.Generator()
        generator.manual_seed(own.seed + own.epoch)
        order: list[int] = list(range(len(self._lying)))
        if own.shuffle:
            order = torch.randperm(len(order), generator=generator).tolist()
        chunks = [
            chunk
            for lying in (True, False)
            for chunk in self._chunks([i for i in order if self._lying[i] == lying])
        ]
        if own.shuffle:
            drawn = torch.randperm(len(chunks), generator=generator).tolist()
            chunks = [chunks[i] for i in drawn]
        else:
            # In the order of the data, as far as batches of one orientation can be.
            # A chunk that was filled up ends in earlier items.
            chunks.sort(key=lambda chunk: chunk[0])
        for chunk in chunks:
            batch = chunk[own.rank :: own.world_size]
            if batch:
                yield batch

    def _chunks(self, items: list[int]) -> list[list[int]]:
        """What all ranks see in a step, of items of one orientation."""
        world = self.sampler.world_size
        whole = self.batch_size * world
        chunks = [items[start : start + whole] for start in range(0, len(items), whole)]
        if not chunks or len(chunks[-1]) == whole:
            return chunks
        if self.drop_last:
            return chunks[:-1]
        if self.sampler.round_up:
            missing = -len(chunks[-1]) % world
            chunks[-1] = chunks[-1] + [items[i % len(items)] for i in range(missing)]
        return chunks
