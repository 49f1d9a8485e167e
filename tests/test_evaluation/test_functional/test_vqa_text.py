from __future__ import annotations

import importlib
import random

import pytest

from uniadapter.evaluation.functional.vqa_text import (
    clean_answer,
    normalise_answer,
    strip_punctuation,
)
from uniadapter.utils.compat import mmpretrain_models

WORDS = [
    *("the", "A", "an", "Two", "none", "zero", "1,000", "1.5", "3.50", "dog.", "u.s.", "it's"),
    *("10:30", "a.m.", "dont", "CANT", "hes", "its", "couldnt've", "couldntve", "y'allll"),
    *("oclock", "somebody'd", "ow's'at", "black-and-white", *"&%$#'.,;:/[]\"{}()=+\\_-><@`?!"),
]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The two dogs.", "2 dogs"),
        ("  A\tman \nand an apple ", "man and apple"),
        ("none", "0"),
        ("Zero", "0"),
        ("ten", "10"),
        ("eleven", "eleven"),
        # Marks become spaces, or nothing where one stands beside a space.
        ("black-and-white", "black and white"),
        ("black- and-white", "black andwhite"),
        ("black,white", "black white"),
        ("black, white", "black white"),
        ("what?!", "what"),
        ("(left)", "left"),
        # Commas between digits join them, and take every other mark along.
        ("100,978", "100978"),
        ("1,000-ish", "1000ish"),
        # Periods stay before digits alone.
        ("3.5", "3.5"),
        (".5", ".5"),
        ("5.", "5"),
        ("u.s.a.", "usa"),
        # Colons and apostrophes stay, as do marks that the protocol does not name.
        ("10:30", "10:30"),
        ("man's", "man's"),
        ("50%", "50%"),
        # Contractions get their apostrophe back; words that are words without it don't.
        ("dont", "don't"),
        ("Isnt", "isn't"),
        ("oclock", "o'clock"),
        ("couldnt've", "couldn't've"),
        ("couldn'tve", "couldn't've"),
        ("couldntve", "couldntve"),
        ("its", "its"),
        ("hes", "he's"),
        ("twas", "'twas"),
        ("somebody'd", "somebodyd"),
        ("", ""),
        ("the", ""),
        ("...", ""),
    ],
)
def test_normal_form(answer: str, expected: str) -> None:
    assert normalise_answer(answer) == expected


def test_normal_form_of_a_normal_form() -> None:
    for answer in ("The two dogs.", "black-and-white", "100,978", "dont", "10:30 a.m."):
        once = normalise_answer(answer)
        assert normalise_answer(once) == once


def test_punctuation_keeps_letter_case() -> None:
    assert strip_punctuation("New-York!") == "New York "
    assert clean_answer("\tNew\nYork ") == "New York"


def test_normal_form_of_mmpretrain_on_random_answers() -> None:
    mmpretrain_models()
    theirs = importlib.import_module("mmpretrain.evaluation.metrics.vqa").VQAAcc()
    draw = random.Random(0)
    for _ in range(5000):
        parts = (draw.choice(WORDS) + draw.choice(["", " ", "  ", "\n", "\t"]) for _ in range(6))
        answer = "".join(list(parts)[: draw.randint(1, 6)])
        assert normalise_answer(answer) == theirs._process_answer(answer)
