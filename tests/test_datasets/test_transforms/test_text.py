from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uniadapter.datasets.transforms import CleanCaption, CleanQuestion


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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('A Man, (in "red") runs.', "a man in red runs"),
        ("one;two:three*four#five~six!", "onetwothreefourfivesix"),
        ("it's a boy, isn't it?", "its a boy isnt it"),
        ("a half-open door and/or a <PERSON>'s dog", "a half open door and or a persons dog"),
        ("  - a -- b/ ", "a b"),
        ("?!", "?!"),
    ],
)
def test_cleaning_as_albef(text: str, expected: str) -> None:
    assert clean(text, style="albef") == expected
    question = CleanQuestion(style="albef").transform({"text": text})["text"]
    assert question == expected


def test_words_are_cut() -> None:
    assert clean("a b c d", max_words=2) == "a b"
    assert len(clean("word " * 99).split()) == 30


def test_every_text_and_the_prefix() -> None:
    results = CleanCaption(prefix="a video of ").transform({"texts": ["A dog!", "Cats"]})
    assert results["texts"] == ["a video of a dog", "a video of cats"]


@settings(deadline=None)
@given(st.text(), st.sampled_from(["blip", "albef"]))
def test_cleaning_twice_changes_nothing(text: str, style: str) -> None:
    once = clean(text, max_words=5, style=style)
    assert clean(once, max_words=5, style=style) == once or once == text.strip()
    assert bool(once) == bool(text.strip())


@pytest.mark.parametrize("cls", [CleanCaption, CleanQuestion])
def test_bad_options(cls: type) -> None:
    with pytest.raises(ValueError, match="max_words must be at least 1"):
        cls(max_words=0)
    with pytest.raises(ValueError, match="style='clip' is unknown: choose from"):
        cls(style="clip")
