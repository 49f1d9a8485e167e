from __future__ import annotations

import pytest
from mmengine.dataset import InfiniteSampler
from mmengine.runner import Runner

from uniadapter.engine.runner import CheckedRunner
from uniadapter.engine.runner import runner as module
from uniadapter.registry import RUNNERS


class Numbers(list):
    """A data set that MMEngine's runner takes as it is."""


def loader(items: int, batch_size: int, **options):
    cfg = {"dataset": Numbers(range(items)), "sampler": {"type": "DefaultSampler"}}
    return CheckedRunner.build_dataloader({**cfg, "batch_size": batch_size, **options})


def test_it_is_the_runner_of_the_package():
    assert RUNNERS.get("Runner") is CheckedRunner
    assert issubclass(CheckedRunner, Runner)


@pytest.mark.parametrize(("items", "batch_size", "batches"), [(5, 5, 1), (5, 2, 2), (1, 1, 1)])
def test_a_loader_with_a_batch_is_built(items: int, batch_size: int, batches: int):
    assert len(loader(items, batch_size, drop_last=True)) == batches


@pytest.mark.parametrize(("items", "batch_size"), [(5, 6), (1, 2)])
def test_fewer_items_than_a_batch_are_refused_with_both_numbers(items: int, batch_size: int):
    message = rf"Numbers has {items} items, fewer than one batch of {batch_size}, and drop_last"
    with pytest.raises(ValueError, match=message):
        loader(items, batch_size, drop_last=True)
    assert len(loader(items, batch_size)) == 1


def test_the_share_of_a_process_counts(monkeypatch):
    monkeypatch.setattr(module, "get_world_size", lambda: 4)
    monkeypatch.setattr("mmengine.dataset.sampler.get_dist_info", lambda: (1, 4))
    message = r"has 10 items and is shared by 4 processes, 3 each, .* at most 3,"
    with pytest.raises(ValueError, match=message):
        loader(10, 4, drop_last=True)
    assert len(loader(10, 3, drop_last=True)) == 1


def test_a_sampler_without_an_end_fills_its_batches():
    built = loader(3, 5, drop_last=True, sampler={"type": "InfiniteSampler", "shuffle": False})
    assert isinstance(built.sampler, InfiniteSampler)
    assert len(next(iter(built))) == 5
