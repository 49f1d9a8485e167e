from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniadapter.models.adapters import UniAdapter
from uniadapter.models.adapters.base import check_choice, parse_layers
from uniadapter.models.sites import Places, Slot

DEPTH = 7


def written(numbers, draw):
    """One of the ways to write a choice of layers."""
    if len(numbers) == DEPTH and draw(st.booleans()):
        return None
    ordered = draw(st.permutations(sorted(numbers)))
    if draw(st.booleans()):
        return draw(st.sampled_from([list, tuple]))(ordered)
    runs = [[ordered[0], ordered[0]]]
    for number in ordered[1:]:
        if number == runs[-1][1] + 1 and draw(st.booleans()):
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


@given(st.data())
def test_choices_of_layers_are_compared_by_what_they_choose(data):
    sets = st.sets(st.integers(1, DEPTH), min_size=1)
    one, other = data.draw(sets), data.draw(sets)
    slots = {
        f"{role}.after_self": {i: Slot(4) for i in range(DEPTH)} for role in ("visual", "text")
    }
    adapter = UniAdapter(Places(slots), 2, towers=["visual", "text"])
    first, second, third = (
        adapter.normalise("layers", written(numbers, data.draw)) for numbers in (one, one, other)
    )
    assert first == second
    assert (first == third) == (one == other)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, list(range(12))),
        ("5-8", [4, 5, 6, 7]),
        ("1-4, 9-12", [0, 1, 2, 3, 8, 9, 10, 11]),
        ("3", [2]),
        ([12, 1], [0, 11]),
    ],
)
def test_layers_are_counted_from_one(value, expected):
    assert parse_layers(value, 12, "adapter.layers") == expected


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ("5-13", r"layers \[13\] do not exist, choose from 1..12"),
        ([0], r"layers \[0\] do not exist"),
        ("first", "write ranges like"),
        ("5-x", "write ranges like"),
        ([], "chooses no layer"),
        ("8-5", "chooses no layer"),
        ("1-3,3", "names a layer twice"),
    ],
)
def test_wrong_layers_are_errors_that_name_the_key(value, match):
    with pytest.raises(ValueError, match=f"adapter.layers=.*{match}"):
        parse_layers(value, 12, "adapter.layers")


def test_check_choice_names_key_and_choices():
    with pytest.raises(ValueError, match=r"adapter.sharing='x' is unknown: choose from \['a'\]"):
        check_choice("x", ["a"], "adapter.sharing")
