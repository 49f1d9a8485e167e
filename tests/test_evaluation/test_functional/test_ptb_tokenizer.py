from __future__ import annotations

import json

import pytest

from tests.test_evaluation.record_java_reference import TOKENS
from uniadapter.evaluation.functional.ptb_tokenizer import (
    PUNCTUATION,
    ptb_tokens,
    tokenize_caption,
    tokenize_captions,
)

JAVA = json.loads(TOKENS.read_text(encoding="utf-8"))["rows"]


@pytest.mark.parametrize(("caption", "tokens"), JAVA, ids=range(len(JAVA)))
def test_tokens_of_the_java_tokenizer(caption: str, tokens: str) -> None:
    assert tokenize_caption(caption) == " ".join(tokens.split(" ")).replace("  ", " ")


@pytest.mark.parametrize(
    ("caption", "tokens"),
    [
        ("A dog (wet), isn't it?", "a dog -lrb- wet -rrb- , is n't it ?"),
        ("it's 10:30 p.m. -- now...", "it 's 10:30 p.m. -- now ..."),
        ("", ""),
        (" \n\t", ""),
    ],
)
def test_punctuation_before_its_removal(caption: str, tokens: str) -> None:
    assert ptb_tokens(caption) == tokens.split()


def test_what_is_removed_and_what_stays() -> None:
    marks = "'aa' \"b\" `c` - d -- e ... f; g: h! i? j, kk."
    assert tokenize_caption(marks) == "aa b c d e f g h i j kk"
    # Named in capitals in the list of punctuation, in small letters in the tokens.
    assert tokenize_caption("(a) [b] {c}") == "-lrb- a -rrb- -lsb- b -rsb- -lcb- c -rcb-"
    assert tokenize_caption("wow!! ok?!") == "wow !! ok ?!"
    assert "-LRB-" in PUNCTUATION


def test_any_text_is_tokenized() -> None:
    every_character = "".join(map(chr, range(1, 0x3000)))
    assert "z" in tokenize_caption(every_character)
    assert tokenize_caption("! ? . , ; : ' \"") == ""
    assert tokenize_caption("😀\u200b") == ""
    assert tokenize_caption("a" * 5000 + ".") == "a" * 5000


def test_captions_of_images_in_order() -> None:
    tokenized = tokenize_captions({"b": ["A cat.", ""], 3: ["The dog's"]})
    assert tokenized == {"b": ["a cat", ""], 3: ["the dog 's"]}
    assert list(tokenized) == ["b", 3]
