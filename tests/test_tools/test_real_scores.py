"""Measures, tables and batches of the study on real pictures, against counting."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.helpers import draws, load_tool

load_tool("analysis_tools/real_retrieval.py")
scores, training, tables = (
    sys.modules[f"real_bench.{name}"] for name in ("scores", "training", "tables")
)


def test_rows_are_compared_split_by_split() -> None:
    def runs(*means: float) -> dict[int, Any]:
        return {split: {"test": {"mean": mean}} for split, mean in enumerate(means)}

    probe = runs(50.0, 60.0, 70.0)
    # Far less apart than the splits are: half of the interval is 4.30 / sqrt(3).
    assert tables.ahead(runs(51.0, 62.0, 73.0), probe) == "+2.0 ± 2.5"
    assert tables.ahead(runs(49.0), probe) == "-1.0"
    assert tables.ahead(probe, probe) == tables.ahead({}, probe) == tables.ahead(probe, {}) == "-"


def test_the_lowest_of_the_best_rates_is_taken() -> None:
    rates = {"0.0001": 60.0, "0.0003": 50.0, "3e-05": 60.0}
    runs = {f"row/0/{rate}": {"val": {"mean": mean}} for rate, mean in rates.items()}
    assert tables.chosen_runs(runs, "row") == ("3e-05", {0: runs["row/0/3e-05"]})


@given(data=st.data(), count=st.integers(1, 9))
@settings(max_examples=draws(25), deadline=None)
def test_measures_are_those_of_counting(data: Any, count: int) -> None:
    keys = data.draw(st.lists(st.sampled_from("abcd"), min_size=count, max_size=count))
    values = st.lists(st.integers(0, 5), min_size=count, max_size=count)
    # A description has one column, whichever picture it stands beside.
    column = {key: data.draw(values) for key in sorted(set(keys))}
    table = torch.tensor([column[key] for key in keys]).t().float()
    ranks: dict[str, list[int]] = {"t2i": [], "i2t": []}
    for key in sorted(set(keys)):
        right = [i for i in range(count) if keys[i] == key]
        best = max(column[key][i] for i in right)
        wrong = [i for i in range(count) if keys[i] != key]
        ranks["t2i"].append(1 + sum(column[key][i] >= best for i in wrong))
    for i, key in enumerate(keys):
        others = [column[other][i] for other in sorted(set(keys)) if other != key]
        ranks["i2t"].append(1 + sum(value >= column[key][i] for value in others))
    found = scores.measures(table, keys)
    for name, own in ranks.items():
        for k in (1, 5, 10):
            assert found[f"{name}/R{k}"] == pytest.approx(100 * np.mean(np.array(own) <= k))
    assert found["mean"] == pytest.approx(
        np.mean([found[f"{n}/R{k}"] for n in ranks for k in (1, 5, 10)])
    )


def test_pictures_are_called_by_the_name_of_a_class_or_not() -> None:
    captions = ["A  tench!", "The Tinca tinca.", "A red tench.", "an", "T-shirt", "Tabby."]
    names = ["tench, Tinca tinca", "tabby, tabby cat", "T-shirt", "tabby"]
    found = scores.named_pictures(captions, names)
    assert found == {0: {0}, 1: {0}, 4: {2}, 5: {1, 3}}


@given(seed=st.integers(0, 99), count=st.integers(2, 8), known=st.booleans())
@settings(max_examples=draws(15), deadline=None)
def test_ridge_is_the_least_of_its_sum(seed: int, count: int, known: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(count, width, generator=generator) for width in (4, 3))
    prior = torch.randn(count, 3, generator=generator) if known else None
    space = scores.ridge(x, y, 2.0, prior)
    rest = y if prior is None else y - prior

    def total(matrix: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return (x @ matrix.t() + bias - rest).square().sum() + 2.0 * matrix.square().sum()

    bias = space.visual_bias + y.mean(0)
    best = total(space.visual, bias)
    for _ in range(5):
        step = 0.01 * torch.randn(3, 5, generator=generator)
        assert best <= total(space.visual + step[:, :4], bias + step[:, 4]) + 1e-4
    torch.testing.assert_close(space.text_bias, -y.mean(0))
    cosines = (
        F.normalize(x @ space.visual.t() + space.visual_bias, dim=-1)
        @ F.normalize(y - y.mean(0), dim=-1).t()
    )
    torch.testing.assert_close(space.scores(x, y), cosines)


@given(keys=st.lists(st.sampled_from("abcdef"), min_size=1, max_size=20), size=st.integers(1, 7))
@settings(max_examples=draws(25), deadline=None)
def test_an_epoch_has_every_description_once(keys: list[str], size: int) -> None:
    numbers = list(range(0, len(keys), 2))
    found = list(training.batches(keys, numbers, size, torch.Generator().manual_seed(0)))
    drawn = [int(row) for batch in found for row in batch]
    assert set(drawn) <= set(numbers)
    assert sorted(keys[row] for row in drawn) == sorted({keys[row] for row in numbers})
    assert max(map(len, found)) <= size
