"""Batches of one orientation: every item once, alike on all ranks, the same every epoch again."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mmengine.dataset import DefaultSampler, InfiniteSampler

from tests.helpers import draws
from uniadapter.datasets import OrientedBatchSampler


class Lies:
    """A data set that knows how its pictures lie."""

    def __init__(self, lying: list[bool]) -> None:
        self._lying = lying

    def __len__(self) -> int:
        return len(self._lying)

    def lying(self) -> list[bool]:
        return self._lying


def deal(
    lying: list[bool], batch: int, world: int, epoch: int = 0, drop: bool = False, **options: Any
) -> list[list[list[int]]]:
    """The batches of every rank."""
    found = []
    for rank in range(world):
        inner = DefaultSampler(Lies(lying), seed=3, **options)
        inner.rank, inner.world_size = rank, world
        inner.set_epoch(epoch)
        sampler = OrientedBatchSampler(inner, batch, drop)
        found.append(list(sampler))
        assert len(sampler) == len(found[-1])
    return found


cases = {
    "lying": st.lists(st.booleans(), min_size=1, max_size=40),
    "batch": st.integers(1, 5),
    "world": st.integers(1, 3),
    "epoch": st.integers(0, 3),
}


@settings(max_examples=draws(40))
@given(**cases)
def test_training(lying: list[bool], batch: int, world: int, epoch: int) -> None:
    ranks = deal(lying, batch, world, epoch, shuffle=True)
    # As many steps on each rank, as many items in each step, all of one orientation.
    assert len({len(batches) for batches in ranks}) == 1
    for step in zip(*ranks, strict=True):
        assert len({len(part) for part in step}) == 1
        assert len({lying[index] for part in step for index in part}) == 1
    seen = sorted(index for batches in ranks for part in batches for index in part)
    assert set(seen) == set(range(len(lying)))
    # What is dealt twice fills the last steps of both orientations up.
    assert len(seen) - len(lying) <= 2 * (world - 1)
    assert ranks == deal(lying, batch, world, epoch, shuffle=True)


@settings(max_examples=draws(40))
@given(**cases)
def test_incomplete_batches_can_be_left_out(lying, batch, world, epoch) -> None:
    ranks = deal(lying, batch, world, epoch, drop=True, shuffle=True)
    parts = [part for batches in ranks for part in batches]
    assert all(len(part) == batch for part in parts)
    seen = [index for part in parts for index in part]
    assert len(set(seen)) == len(seen)
    assert len(lying) - len(seen) <= 2 * (batch * world - 1)


@settings(max_examples=draws(40))
@given(**cases)
def test_testing_deals_every_item_once(lying, batch, world, epoch) -> None:
    ranks = deal(lying, batch, world, epoch, shuffle=False, round_up=False)
    parts = [part for batches in ranks for part in batches]
    assert sorted(index for part in parts for index in part) == list(range(len(lying)))
    for part in parts:
        assert part == sorted(part)
        assert len({lying[index] for index in part}) == 1


@settings(max_examples=draws(20))
@given(**cases)
def test_several_ranks_see_what_one_sees(lying, batch, world, epoch) -> None:
    """The items are those of one with as large a batch."""
    ranks = deal(lying, batch, world, epoch, shuffle=True, round_up=False)
    whole = deal(lying, batch * world, 1, epoch, shuffle=True)[0]
    # A rank that has no item of a small step skips it, so that only the items can be compared.
    assert sorted(i for part in whole for i in part) == sorted(
        i for batches in ranks for part in batches for i in part
    )


@settings(max_examples=draws(30))
@given(**cases, drop=st.booleans(), shuffle=st.booleans())
@example(
    lying=[True, False, False, True, True], batch=1, world=2, epoch=0, drop=False, shuffle=False
)
def test_steps_of_all_ranks_are_the_steps_of_one(lying, batch, world, epoch, drop, shuffle) -> None:
    """Dealt out one by one; what fills the small steps up stands behind."""
    ranks = deal(lying, batch, world, epoch, drop, shuffle=shuffle)
    whole = deal(lying, batch * world, 1, epoch, drop, shuffle=shuffle)[0]
    for step, wanted in zip(zip(*ranks, strict=True), whole, strict=True):
        found = [index for one_of_each in zip(*step, strict=True) for index in one_of_each]
        assert found[: len(wanted)] == wanted


def test_epochs_differ_and_orientations_mix() -> None:
    lying = [index % 3 > 0 for index in range(60)]
    first, second = (deal(lying, 4, 1, epoch, shuffle=True)[0] for epoch in (0, 1))
    assert first != second
    order = [lying[part[0]] for part in first]
    assert order != sorted(order)
    assert order != sorted(order, reverse=True)


def test_what_it_can_not_deal() -> None:
    good = DefaultSampler(Lies([True]))
    with pytest.raises(ValueError, match=r"'InfiniteSampler': set it to 'DefaultSampler'"):
        OrientedBatchSampler(InfiniteSampler(Lies([True])), 2)
    with pytest.raises(ValueError, match=r"list has no lying\(\)"):
        OrientedBatchSampler(DefaultSampler([1, 2]), 2)
    with pytest.raises(ValueError, match="batch_size=0 must be"):
        OrientedBatchSampler(good, 0)


def test_a_loader_counts_its_batches() -> None:
    data = Lies([True, False, True])
    data.__class__.__getitem__ = lambda self, index: index  # type: ignore[attr-defined]
    sampler = OrientedBatchSampler(DefaultSampler(data, shuffle=False), 2)
    loader = torch.utils.data.DataLoader(data, batch_sampler=sampler)
    assert [part.tolist() for part in loader] == [[0, 2], [1]]
    assert len(loader) == 2
