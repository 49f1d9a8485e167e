"""Metrics as the mean over folds of the split (COCO's 1K protocol)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.spawn import spawn
from tests.test_engine.test_runner.retrieval_stubs import Split, StubModel, build, loader
from uniadapter.engine.runner import RetrievalValLoop


class Part:
    """Some media of a split that follow one another."""

    def __init__(self, split: Split, start: int, stop: int) -> None:
        self.split, self.start, self.stop = split, start, stop
        self.metainfo: dict = {}

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, index: int) -> dict:
        return self.split[self.start + index]


def mean_of_parts(split: Split, bounds: list[tuple[int, int]], **options: Any) -> dict:
    runs = [build(StubModel(), loader(Part(split, *part)), **options).run() for part in bounds]
    return {key: sum(run[key] for run in runs) / len(runs) for key in runs[0]}


@pytest.mark.parametrize("k_test", [2, 0])
@pytest.mark.parametrize(
    ("folds", "bounds"), [(3, [(0, 3), (3, 6), (6, 9)]), (2, [(0, 4), (4, 9)])]
)
def test_folds_are_splits_of_their_own(folds: int, bounds: list, k_test: int) -> None:
    split = Split(9)
    found = build(StubModel(), loader(split), k_test=k_test, folds=folds).run()
    assert found == pytest.approx(mean_of_parts(split, bounds, k_test=k_test))
    assert found != build(StubModel(), loader(split), k_test=k_test).run()


@pytest.mark.parametrize("k_test", [3, 0])
@pytest.mark.parametrize("skipped", [[1], [0, 8], [2, 3, 5], [0, 1]])
def test_skipped_media_leave_their_place_in_a_fold_empty(skipped: list[int], k_test: int) -> None:
    # The shortlist is as long as a fold, before media were skipped.
    split, bounds = Split(9, skipped=skipped), [(0, 3), (3, 6), (6, 9)]
    found = build(StubModel(), loader(split), k_test=k_test, folds=3).run()
    assert found.pop("skipped") == len(skipped)
    wanted = mean_of_parts(split, bounds, k_test=k_test)
    del wanted["skipped"]
    assert found == pytest.approx(wanted)


def test_a_fold_without_media_is_named() -> None:
    split = Split(9, skipped=[3, 4, 5])
    with pytest.raises(ValueError, match=r"numbers 3 to 5 of the split.*videos/3\.mp4"):
        build(StubModel(), loader(split), k_test=2, folds=3).run()


def _rank(rank: int, world: int, out: str) -> None:
    data = loader(Split(7), batch_size=1, rank=rank, world=world, round_up=False)
    torch.save(build(StubModel(), data, k_test=2, folds=3).run(), f"{out}/{rank}.pt")


def test_two_ranks_agree_with_one(tmp_path: Path) -> None:
    spawn(_rank, 2, str(tmp_path))
    expected = build(StubModel(), loader(Split(7)), k_test=2, folds=3).run()
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt", weights_only=True) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 0}, r"folds must be in \[1, 6\]"),
        ({"folds": 7}, r"folds must be in \[1, 6\]"),
        ({"folds": 3, "k_test": 3}, "k_test = 3 is larger than the gallery.*2 media in a fold"),
        ({"folds": 2, "k_test": 2, "dump": "x.json"}, "leave out test_cfg.folds"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(StubModel(), loader(Split(6)), **options)


def test_validation_has_folds_too() -> None:
    loop = build(StubModel(), loader(Split(6)), RetrievalValLoop, k_test=2, folds=3)
    assert loop.options.folds == 3
