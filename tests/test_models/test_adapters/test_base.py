from __future__ import annotations

import pytest

from uniadapter.models.adapters.base import check_choice, parse_layers


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
