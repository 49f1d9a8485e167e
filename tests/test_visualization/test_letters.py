from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from tests.helpers import draws
from uniadapter.visualization.letters import drawable, wrapped


@settings(max_examples=draws(30))
@given(st.text(max_size=60), st.integers(20, 300))
def test_lines_fit_and_lose_nothing(text: str, width: int):
    whole, font = drawable(text)
    lines = wrapped(text, width)
    assert lines
    assert "".join(line for line, _ in lines).replace(" ", "") == whole.replace(" ", "")
    for line, used in lines:
        assert used is font
        # A single letter may be wider than the line.
        assert font.getlength(line) <= width or len(line) == 1


@settings(max_examples=draws(30))
@given(st.text(max_size=20))
def test_everything_can_be_drawn(text: str):
    line, font = drawable(text)
    assert not any(ord(letter) < 32 for letter in line)
    ImageDraw.Draw(Image.new("RGB", (40, 20))).text((0, 0), line, font=font)


@pytest.mark.parametrize("text", ["größer als", "Γειά σου", "Привет", "a “b” …", "Ångström n°5"])
def test_letters_of_the_first_font_stay(text: str):
    pytest.importorskip("matplotlib")
    assert drawable(text)[0] == text


def test_what_no_font_has_is_spelled():
    assert drawable("a\udcff\0b")[0] == r"a\udcff\x00b"
    assert drawable("x\U0010fffd")[0] == r"x\U0010fffd"
    assert drawable("two\n lines")[0] == "two lines"


def test_letters_are_really_drawn():
    sheet = Image.new("L", (200, 30), 255)
    line, font = drawable("größer Я λ")
    ImageDraw.Draw(sheet).text((0, 0), line, fill=0, font=font)
    assert (np.asarray(sheet) < 128).sum() > 50
