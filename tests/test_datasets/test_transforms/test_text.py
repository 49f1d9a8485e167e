from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uniadapter.datasets.transforms import CleanCaption, CleanQuestion, HideWord


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


@given(st.lists(st.sampled_from(["red", "ball", "left", "of", "a", "box"]), min_size=1))
def test_a_hidden_word_is_the_answer(said: list[str]) -> None:
    step = HideWord(["red", "left"])
    results = {"text": " ".join(said), "media_path": "x"}
    if not {"red", "left"} & set(said):
        with pytest.raises(ValueError, match="of x has none of"):
            step.transform(results)
        return
    found = step.transform(results)
    (word,) = found["answers"]
    assert found["answer_weights"] == [1.0]
    assert word in ("red", "left")
    words = found["text"].split()
    assert words.count("[MASK]") == 1
    assert [word if w == "[MASK]" else w for w in words] == said


def test_words_to_hide() -> None:
    for words in ([], "red"):
        with pytest.raises(ValueError, match="a list of at least one word"):
            HideWord(words)
    step = HideWord(["b", "a"])
    assert repr(step) == "HideWord(words=['a', 'b'])"
    seen = {step.transform({"text": "a b"})["answers"][0] for _ in range(40)}
    assert seen == {"a", "b"}
