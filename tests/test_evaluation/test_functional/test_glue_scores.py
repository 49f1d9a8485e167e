"""GLUE's measures against their definitions, counted one by one."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from uniadapter.evaluation.functional.glue_scores import GLUE_MEASURES

CLASSES = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=30)
# Few values, so that there are ties.
SCORES = st.lists(
    st.tuples(st.sampled_from([-1.0, 0.0, 0.2, 1.4, 5.0]), st.floats(0, 5, width=16)),
    min_size=2,
    max_size=20,
)


@settings(max_examples=draws(60))
@given(CLASSES)
def test_measures_of_classes_are_those_of_the_four_counts(pairs):
    said, real = zip(*pairs, strict=True)
    tp, fp, fn, tn = (pairs.count(pair) for pair in ((1, 1), (1, 0), (0, 1), (0, 0)))
    below = math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    want = {
        "accuracy": (tp + tn) / len(pairs),
        "f1": 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0.0,
        "matthews": (tp * tn - fp * fn) / below if below else 0.0,
    }
    for name, value in want.items():
        assert GLUE_MEASURES[name](said, real) == pytest.approx(value, abs=1e-12)


def correlation(x: list[float], y: list[float]) -> float:
    """cov(x, y) / sd(x) sd(y) by sums over all pairs of samples; 0 of a constant."""
    pairs = [(a - b, c - d) for a, c in zip(x, y, strict=True) for b, d in zip(x, y, strict=True)]
    products = [
        math.fsum(p * q for p, q in part)
        for part in (pairs, [(p, p) for p, _ in pairs], [(q, q) for _, q in pairs])
    ]
    below = math.sqrt(products[1]) * math.sqrt(products[2])
    return products[0] / below if below else 0.0


def ranks(values: list[float]) -> list[float]:
    """Those below, and half of those that are equal."""
    return [
        sum(other < value for other in values) + (values.count(value) + 1) / 2 for value in values
    ]


@settings(max_examples=draws(40))
@given(SCORES)
def test_correlations_are_their_definitions(pairs):
    said, real = map(list, zip(*pairs, strict=True))
    spread = max(real) - min(real)
    assume(spread == 0 or spread > 1e-3)
    assert GLUE_MEASURES["pearson"](said, real) == pytest.approx(correlation(said, real), abs=1e-9)
    want = correlation(ranks(said), ranks(real))
    assert GLUE_MEASURES["spearman"](said, real) == pytest.approx(want, abs=1e-9)


@settings(max_examples=draws(20))
@given(SCORES, st.integers(-900, 900))
def test_numbers_of_any_size_are_compared(pairs, size):
    """A model may write a number that is finite, and whose square is not."""
    said, real = map(list, zip(*pairs, strict=True))
    scaled = [math.ldexp(value, size) for value in said]
    for name in ("pearson", "spearman"):
        assert GLUE_MEASURES[name](scaled, real) == GLUE_MEASURES[name](said, real)
