"""Batches of one task: the published drawing, every item once, several ranks as one."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mmengine.dataset import DefaultSampler, InfiniteSampler

from tests.helpers import draws
from uniadapter.datasets import JointBatchSampler

NAMES = ("vqa", "gqa", "nlvr", "caption", "tvqa")
#: VL-Adapter's shares of the batch size.
SHARES = {"gqa": (100, 60), "nlvr": (20, 60), "caption": (50, 60)}


class Sized:
    """As much of a joint data set as a sampler asks for."""

    def __init__(self, sizes: list[int]) -> None:
        self._sizes = dict(zip(NAMES, sizes, strict=False))

    def sizes(self) -> dict[str, int]:
        return self._sizes

    def __len__(self) -> int:
        return sum(self._sizes.values())

    def task(self, index: int) -> str:
        for name, size in self._sizes.items():
            if index < size:
                return name
            index -= size
        raise IndexError


def sampler(sizes: list[int], batch: int, world: int = 1, rank: int = 0, **options: Any):
    inner = DefaultSampler(
        Sized(sizes),
        shuffle=options.pop("shuffle", True),
        seed=options.pop("seed", 0),
        round_up=options.pop("round_up", True),
    )
    inner.rank, inner.world_size = rank, world
    inner.set_epoch(options.pop("epoch", 0))
    return JointBatchSampler(inner, batch, **options)


def deal(sizes: list[int], batch: int, world: int, **options: Any) -> list[list[list[int]]]:
    """The batches of every rank; each rank's length is what it says."""
    found = []
    for rank in range(world):
        one = sampler(sizes, batch, world, rank, **options)
        found.append(list(one))
        assert len(found[-1]) == one.steps(one.sampler.epoch)
        if not one.early_end:
            assert len(found[-1]) == len(one)
    return found


def published(sizes: list[int], batch: dict[str, int], epoch: int, balanced: bool) -> list:
    """The released drawing, in the words of its description: loaders that are drawn from a list."""
    names, loaders, lengths = NAMES[: len(sizes)], {}, {}
    start = 0
    for name, size in zip(names, sizes, strict=True):
        generator = torch.Generator()
        generator.manual_seed(0 + epoch)
        order = [start + i for i in torch.randperm(size, generator=generator).tolist()]
        batches = [order[i : i + batch[name]] for i in range(0, size, batch[name])]
        loaders[name], lengths[name] = iter(batches), len(batches)
        start += size
    tasks = []
    for name in names:
        copies = sum(lengths.values()) // len(names) if balanced else lengths[name]
        tasks.extend([name] * copies)
    random.Random(epoch).shuffle(tasks)
    found = []
    while tasks:
        try:
            found.append(next(loaders[tasks.pop()]))
        except StopIteration:
            break
    return found


SIZES = st.lists(st.integers(1, 30), min_size=1, max_size=5)
cases = {
    "sizes": SIZES,
    "batch": st.integers(1, 7),
    "world": st.integers(1, 5),
    "epoch": st.integers(0, 3),
}


@settings(max_examples=draws(40))
@given(sizes=SIZES, batch=st.integers(3, 20), epoch=st.integers(0, 30), balanced=st.booleans())
def test_one_rank_draws_as_the_released_code(sizes, batch, epoch, balanced) -> None:
    shares = {name: share for name, share in SHARES.items() if name in NAMES[: len(sizes)]}
    own = {name: batch for name in NAMES}
    own.update(gqa=int(batch * 100 / 60), nlvr=int(batch * 20 / 60), caption=int(batch * 50 / 60))
    options = {"sampling": "balanced", "early_end": True} if balanced else {}
    found = deal(sizes, batch, 1, shares=shares, epoch=epoch, **options)[0]
    assert found == published(sizes, own, epoch, balanced)


def test_published_batch_sizes_and_steps() -> None:
    """Batches of 500 and what else the paper's runs have; the steps of an epoch follow."""
    one = sampler([605_102, 1_075_062, 86_373, 566_747], 500, shares=SHARES)
    assert one.batch_sizes == {"vqa": 500, "gqa": 833, "nlvr": 166, "caption": 416}
    assert len(one) == 1211 + 1291 + 521 + 1363 == 4386
    halves = sampler([605_102, 1_075_062, 86_373, 566_747], 250, world=2, shares=SHARES)
    assert (halves.batch_sizes, len(halves)) == (one.batch_sizes, 4386)


@settings(max_examples=draws(60))
@given(**cases)
@example(sizes=[1, 2], batch=1, world=3, epoch=0)
def test_all_ranks_train_on_one_task_in_a_step_and_as_one_rank_does(
    sizes, batch, world, epoch
) -> None:
    data = Sized(sizes)
    ranks = deal(sizes, batch, world, epoch=epoch)
    whole = deal(sizes, batch * world, 1, epoch=epoch)[0]
    assert {len(batches) for batches in ranks} == {len(whole)}
    for step, wanted in zip(zip(*ranks, strict=True), whole, strict=True):
        assert all(step)
        found = [index for part in step for index in part]
        assert len({data.task(index) for index in found}) == 1
        # Every item counts alike.
        assert sorted(set(found)) == sorted(wanted)
        assert {Fraction(found.count(i), len(found)) for i in wanted} == {Fraction(1, len(wanted))}
        if len(wanted) >= world:
            assert sorted(found) == sorted(wanted)
            assert [i for one in step for i in one] == [
                i for rank in range(world) for i in wanted[rank::world]
            ]
        else:
            assert len({len(part) for part in step}) == 1
            assert len(found) == math.lcm(len(wanted), world)
    assert sorted(i for part in whole for i in part) == list(range(sum(sizes)))


@settings(max_examples=draws(40))
@given(**cases)
def test_testing_deals_every_item_once(sizes, batch, world, epoch) -> None:
    data = Sized(sizes)
    ranks = deal(sizes, batch, world, epoch=epoch, shuffle=False, round_up=False)
    parts = [part for batches in ranks for part in batches]
    assert sorted(i for part in parts for i in part) == list(range(sum(sizes)))
    assert all(len({data.task(i) for i in part}) == 1 for part in parts)
    # Of every task a rank has the items in order, which is the order of one process dealt out.
    for rank, batches in enumerate(ranks):
        dealt = [i for part in batches for i in part]
        assert dealt == sorted(dealt), rank


@settings(max_examples=draws(40))
@given(**cases)
def test_balanced_tasks_have_alike_many_steps(sizes, batch, world, epoch) -> None:
    data = Sized(sizes)
    ranks = deal(sizes, batch, world, epoch=epoch, sampling="balanced")
    steps = [data.task(part[0]) for part in ranks[0]]
    wanted = sum(math.ceil(size / (batch * world)) for size in sizes) // len(sizes)
    assert {name: steps.count(name) for name in set(steps)} == dict.fromkeys(data.sizes(), wanted)
    for step in zip(*ranks, strict=True):
        assert len({data.task(i) for part in step for i in part}) == 1
    for name, size in data.sizes().items():
        seen = [
            i
            for step in zip(*ranks, strict=True)
            for i in {i for part in step for i in part}
            if data.task(i) == name
        ]
        # Pass after pass: no item is there twice before all were.
        for first in range(0, len(seen), size):
            assert len(set(seen[first : first + size])) == len(seen[first : first + size])


def test_epochs_and_seeds_differ_and_repeat() -> None:
    def drawn(epoch: int, seed: int) -> list:
        return deal([20, 30], 3, 1, epoch=epoch, seed=seed)[0]

    assert drawn(0, 0) == drawn(0, 0)
    assert drawn(0, 0) != drawn(1, 0) != drawn(1, 1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch": 0}, "batch_size=0"),
        ({"sampling": "fair"}, "choose from"),
        ({"early_end": True}, "of sampling='balanced' alone"),
        ({"sampling": "balanced", "shuffle": False}, "training alone"),
        ({"sampling": "balanced", "round_up": False}, "training alone"),
        ({"shares": {"how2qa": (1, 2)}}, r"names \['how2qa'\]"),
        ({"shares": {"gqa": 0.5}}, r"shares\['gqa'\]=0.5 must be"),
        ({"shares": {"gqa": (0, 2)}}, "must be"),
        ({"shares": {"gqa": (1, 2, 3)}}, "must be"),
        ({"shares": {"gqa": (1, 3)}, "batch": 2}, "set batch_size to at least 3"),
    ],
)
def test_what_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        sampler([5, 6], options.pop("batch", 4), **options)


def test_other_samplers_and_data_sets_are_refused() -> None:
    with pytest.raises(ValueError, match="'DefaultSampler'"):
        JointBatchSampler(InfiniteSampler(Sized([3])), 2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"list has no sizes\(\)"):
        JointBatchSampler(DefaultSampler([1, 2], seed=0), 2)


def test_what_a_run_records() -> None:
    """It is saved in checkpoints, so that it is made of plain values."""
    one = sampler([5, 6], 4, shares={"gqa": (1, 2)}, sampling="balanced", early_end=True)
    assert one.describe() == {
        "items": {"vqa": 5, "gqa": 6},
        "step": {"vqa": 4, "gqa": 2},
        "sampling": "balanced, early_end",
    }
