from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uniadapter.datasets.transforms import CleanCaption


def clean(text: str, **options: object) -> str:
    return CleanCaption(**options).transform({"text": text})["text"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('A Man (in "red") runs.', "a man in red runs"),
        ("one;two:three*four#five~six!", "one two three four five six"),
        ("  many \t spaces \n here ", "many spaces here"),
        ("it's a boy, isn't it?", "it's a boy, isn't it?"),
        ("...", "..."),
    ],
)
def test_cleaning(text: str, expected: str) -> None:
    assert clean(text) == expected


def test_words_are_cut() -> None:
    assert clean("a b c d", max_words=2) == "a b"
    assert len(clean("word " * 99).split()) == 30


def test_every_text_and_the_prefix() -> None:
    results = CleanCaption(prefix="a video of ").transform({"texts": ["A dog!", "Cats"]})
    assert results["texts"] == ["a video of a dog", "a video of cats"]


@settings(deadline=None)
@given(st.text())
def test_cleaning_twice_changes_nothing(text: str) -> None:
    once = clean(text, max_words=5)
    assert clean(once, max_words=5) == once or once == text.strip()
    assert bool(once) == bool(text.strip())


def test_bad_max_words() -> None:
    with pytest.raises(ValueError, match="max_words must be at least 1"):
        CleanCaption(max_words=0)
