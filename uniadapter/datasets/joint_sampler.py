"""Batches of one task each, drawn from several tasks, the same task on all ranks in every step."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from mmengine.dataset import DefaultSampler
from torch.utils.data import Sampler

from ..registry import DATA_SAMPLERS

_SAMPLING = ("proportional", "balanced")


@DATA_SAMPLERS.register_module()
class JointBatchSampler(Sampler[list[int]]):
    """Batches of one task, in an order of tasks that is drawn for each epoch.

    What all ranks see in a step is a chunk of ``batch_size`` items times the number of ranks, times
    the task's share; rank r takes the items ``r::ranks`` of it, so that several ranks see in each
    step what one rank with as large a batch sees. The last chunk of a task is as small as it is. A
    chunk with fewer items than ranks is repeated until each rank has as many of them: every item
    counts alike in a mean over all ranks, which so remains the mean over the chunk. Where the inner
    sampler does not round up (testing), a rank without an item leaves the chunk out instead.

    With a shuffling sampler, its seed s and epoch e:

    - the steps of an epoch are a list with as many copies of each task as it has chunks, the tasks
      in order, shuffled by ``random.Random(s + e)`` and taken from the end;
    - the items of each task are shuffled by a generator of its own with the seed s + e.

    ``sampling='balanced'`` takes as many copies of each task as they have chunks on average,
    rounded down. A task that has fewer chunks begins its items again, shuffled anew; of one that
    has more the rest is left out. With ``early_end`` the epoch is over where a task with fewer
    chunks has no more, as in VL-Adapter's released code; epochs then differ in length, and
    ``len()`` is what they have at most.

    Without shuffling the tasks come one after the other, each in the order of its items.

    Args:
        sampler: A ``DefaultSampler`` over a :class:`.joint.JointDataset`; its options (shuffle,
            seed, round_up) and its epoch are taken. ``seed=0`` draws as VL-Adapter's code does,
            whatever the run's seed.
        batch_size: Items of a batch on each rank.
        shares: For some tasks (numerator, denominator) of the batch size: all ranks together have
            ``int(batch_size * ranks * numerator / denominator)`` items of that task in a step.
            Defaults to None: all tasks have the batch size.
        sampling: ``'proportional'`` or ``'balanced'``. Defaults to ``'proportional'``.
        early_end: See above. Defaults to False.

    Raises:
        ValueError: If an option is outside its set, or a share leaves no item.
    """

    def __init__(
        self,
        sampler: DefaultSampler,
        batch_size: int,
        shares: Mapping[str, Sequence[int]] | None = None,
        sampling: str = "proportional",
        early_end: bool = False,
    ) -> None:
        _check_sampler(sampler)
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"batch_size={batch_size!r} must be an int of at least 1.")
        if sampling not in _SAMPLING:
            raise ValueError(f"batch_sampler.sampling={sampling!r}: choose from {_SAMPLING}.")
        self.sampler: Any = sampler
        if early_end and sampling != "balanced":
            raise ValueError("batch_sampler.early_end=True is of sampling='balanced' alone.")
        if sampling == "balanced" and not (self.sampler.shuffle and self.sampler.round_up):
            raise ValueError(
                "batch_sampler.sampling='balanced' repeats items or leaves them out, which is for "
                "training alone: set sampler.shuffle=True and round_up=True, or leave it out."
            )
        self.batch_size, self.sampling, self.early_end = batch_size, sampling, early_end
        self._sizes: dict[str, int] = self.sampler.dataset.sizes()
        self._starts: dict[str, int] = {}
        for task in self._sizes:
            self._starts[task] = sum(self._sizes[t] for t in self._starts)
        self._chunk = _chunk_sizes(self._sizes, batch_size * self.sampler.world_size, shares or {})

    @property
    def batch_sizes(self) -> dict[str, int]:
        """Items of a whole step on all ranks together, by task."""
        return dict(self._chunk)

    def describe(self) -> dict[str, Any]:
        """What decides which items are in which step, for comparing two runs."""
        return {
            "items": dict(self._sizes),
            "step": self.batch_sizes,
            "sampling": f"{self.sampling}{', early_end' * self.early_end}",
        }

    def __len__(self) -> int:
        """Batches of this rank; with ``early_end`` as many as an epoch has at most."""
        if self.sampling == "balanced":
            return sum(self._copies().values())
        return sum(self._of_rank(task) for task in self._sizes)

    def steps(self, epoch: int) -> int:
        """Batches of this rank in an epoch.

        Args:
            epoch: The epoch, from 0.
        """
        if not self.early_end:
            return len(self)
        left = {task: self._chunks_of(task) for task in self._sizes}
        order = self._drawn_tasks(epoch)
        for step, task in enumerate(order):
            if left[task] == 0:
                return step
            left[task] -= 1
        return len(order)

    def __iter__(self) -> Iterator[list[int]]:
        """This rank's batches of the sampler's epoch."""
        own = self.sampler
        chunks = {task: self._chunks(task, own.epoch) for task in self._sizes}
        order = self._drawn_tasks(own.epoch) if own.shuffle else self._tasks()
        for task in order:
            chunk = next(chunks[task], None)
            if chunk is None:
                return
            batch = self._own(chunk)
            if batch:
                yield batch

    def _chunks_of(self, task: str) -> int:
        """Chunks that hold the items of a task once."""
        return math.ceil(self._sizes[task] / self._chunk[task])

    def _of_rank(self, task: str) -> int:
        """Batches that this rank has of a task in one pass over its items."""
        last = self._sizes[task] % self._chunk[task]
        empty = not self.sampler.round_up and 0 < last <= self.sampler.rank
        return self._chunks_of(task) - empty

    def _copies(self) -> dict[str, int]:
        """Steps of each task in an epoch."""
        own = {task: self._chunks_of(task) for task in self._sizes}
        if self.sampling == "proportional":
            return own
        return dict.fromkeys(own, sum(own.values()) // len(own))

    def _tasks(self) -> list[str]:
        return [task for task, copies in self._copies().items() for _ in range(copies)]

    def _drawn_tasks(self, epoch: int) -> list[str]:
        tasks = self._tasks()
        random.Random(self.sampler.seed + epoch).shuffle(tasks)
        return tasks[::-1]

    def _chunks(self, task: str, epoch: int) -> Iterator[list[int]]:
        """What all ranks see of a task, step by step."""
        size, start, step = self._sizes[task], self._starts[task], self._chunk[task]
        generator = torch.Generator()
        generator.manual_seed(self.sampler.seed + epoch)
        while True:
            order = list(range(size))
            if self.sampler.shuffle:
                order = torch.randperm(size, generator=generator).tolist()
            for first in range(0, size, step):
                yield [start + number for number in order[first : first + step]]
            if self.sampling == "proportional" or self.early_end:
                return

    def _own(self, chunk: list[int]) -> list[int]:
        """This rank's part of a chunk."""
        world = self.sampler.world_size
        if self.sampler.round_up and len(chunk) < world:
            chunk = chunk * (math.lcm(len(chunk), world) // len(chunk))
        return chunk[self.sampler.rank :: world]


def _check_sampler(sampler: Any) -> None:
    if not isinstance(sampler, DefaultSampler):
        raise ValueError(
            f"JointBatchSampler deals items as DefaultSampler does, and sampler.type is "
            f"{type(sampler).__name__!r}: set it to 'DefaultSampler'."
        )
    if not hasattr(sampler.dataset, "sizes"):
        raise ValueError(
            f"{type(sampler.dataset).__name__} has no sizes(), which says how many items each task "
            "has: use JointDataset, without num_batch_per_epoch."
        )


def _chunk_sizes(
    sizes: Mapping[str, int], whole: int, shares: Mapping[str, Sequence[int]]
) -> dict[str, int]:
    """Items of a step on all ranks by task."""
    if unknown := set(shares) - set(sizes):
        raise ValueError(
            f"batch_sampler.shares names {sorted(unknown)}, and the tasks are {list(sizes)}."
        )
    found = {}
    for task in sizes:
        share = shares.get(task, (1, 1))
        good = isinstance(share, Sequence) and len(share) == 2
        if not good or not all(type(part) is int and part > 0 for part in share):
            raise ValueError(
                f"batch_sampler.shares[{task!r}]={share!r} must be a numerator and a denominator "
                "of the batch size, such as (100, 60)."
            )
        found[task] = whole * share[0] // share[1]
        if found[task] == 0:
            raise ValueError(
                f"batch_sampler.shares[{task!r}]={tuple(share)} of {whole} items is less than one: "
                f"set batch_size to at least {math.ceil(share[1] / share[0])}."
            )
    return found
