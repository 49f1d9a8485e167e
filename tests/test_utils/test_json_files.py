from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from uniadapter.utils.json_files import brief, differences, json_text, parse_json

TEXTS = st.text(st.characters(exclude_categories=()))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=draws(40))
@given(value=VALUES, mark=st.sampled_from([b"", b"\xef\xbb\xbf"]))
def test_what_is_written_is_read(value: object, mark: bytes):
    text = json_text(value)
    assert parse_json(mark + text.encode()) == json.loads(json.dumps(value))


def test_letters_stay_letters():
    assert json_text(["é", "狗", "\ud800"]) == '["é", "狗", "\\ud800"]'


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[" * 100000, "nested too deeply"),
        ('{"a":' * 100000, "nested too deeply"),
        ("9" * 5000, "digits"),
        (b"\xff[]", "utf-8"),
        ("", "Expecting value"),
        ("[1,", "Expecting value"),
    ],
)
def test_what_is_wrong_is_a_value_error(content: str | bytes, words: str):
    with pytest.raises(ValueError, match=words):
        parse_json(content)


def test_messages_are_short():
    nested: object = []
    for _ in range(5000):
        nested = [nested]
    for value in (nested, "x" * 10**6, [10**4000] * 1000, {n: "x" * 1000 for n in range(1000)}):
        assert len(brief(value)) < 1500
    assert brief([1, "a"]) == "[1, 'a']"


LEAVES = st.integers() | st.text("abc", max_size=3) | st.lists(st.integers(), max_size=2)
NAMED = st.dictionaries(st.sampled_from(["k0", "k1", "k2"]), LEAVES)


@given(st.dictionaries(st.sampled_from(["n0", "n1"]), NAMED | LEAVES), st.data())
@settings(max_examples=draws(30))
def test_differences_name_what_differs_and_nothing_else(old: dict, data: st.DataObject):
    assert differences(old, json.loads(json.dumps(old))) == []
    new, changed = json.loads(json.dumps(old)), set()
    for name, value in new.items():
        for holder, key in (
            [(value, k) for k in value] if isinstance(value, dict) else [(new, name)]
        ):
            if data.draw(st.booleans()):
                holder[key] = data.draw(LEAVES.filter(lambda drawn, now=holder[key]: drawn != now))
                changed.add(key)
    said = differences(old, new, {"k0": "the first"})
    assert {one.partition(" (")[0] for one in said} == {
        "the first" if key == "k0" else key for key in changed
    }
    assert all(" there, " in one for one in said)


def test_differences_of_digests_and_of_what_is_none():
    assert differences({"weights": f"sha256 {'a' * 64}"}, {"weights": "random"}) == ["weights"]
    assert differences({"a": {"b": 1}}, {"a": None, "c": 2}) == ["a", "c (None there, 2 now)"]
    assert len(differences({"a": "x" * 10**6}, {"a": 1})[0]) < 200
