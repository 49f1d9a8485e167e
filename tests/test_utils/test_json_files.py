from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from uniadapter.utils.json_files import brief, json_text, parse_json

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
