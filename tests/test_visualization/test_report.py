from __future__ import annotations

import base64
import io
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.helpers import draws
from uniadapter.visualization.report import LIMIT, RIGHT, WRONG, Entry, Panel, Report


class Page(HTMLParser):
    """Texts by tag, and all tags with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        """A tag."""
        self.tags.append((tag, dict(attrs)))
        self.texts.append((tag, ""))

    def handle_data(self, data: str) -> None:
        """A text."""
        if self.texts and data.strip():
            tag, text = self.texts[-1]
            self.texts[-1] = (tag, text + data)


def square(color: str = "red", side: int = 30) -> Image.Image:
    return Image.new("RGB", (side, side), color)


@settings(max_examples=draws(15))
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30))
def test_texts_stand_in_the_page_as_they_are(text: str):
    text = f"<script>alert('{text}')</script> \"&"
    page = Page(Report(text, [text], [Entry(text, [text], [Panel(square(), text)])]).html())
    assert [tag for tag, _ in page.tags if tag in ("script", "link", "iframe")] == []
    found = dict(page.texts)
    assert {found[tag] for tag in ("title", "h1", "p", "h2", "figcaption")} == {text}
    sources = [v for _, attrs in page.tags for k, v in attrs.items() if k in ("src", "href")]
    assert len(sources) == 1
    assert sources[0].startswith("data:image/png;base64,")


def test_pictures_of_the_page_are_those_of_the_entries():
    panels = [Panel(square("red")), Panel(square("blue"), "b", True), Panel(square(), "c", False)]
    page = Page(Report("a", [], [Entry("b", [], panels)]).html())
    found = [
        Image.open(io.BytesIO(base64.b64decode(attrs["src"].partition(",")[2]))).getpixel((3, 3))
        for tag, attrs in page.tags
        if tag == "img"
    ]
    assert found == [(255, 0, 0), (0, 0, 255), (255, 0, 0)]
    assert [a.get("class") for t, a in page.tags if t == "figure"] == [None, "right", "wrong"]


def test_frames_tell_right_from_wrong():
    sheet = Report("a", [], [Entry("b", [], [Panel(square(), right=r) for r in (True, False)])])
    pixels = np.asarray(sheet.sheet())
    for color in (RIGHT, WRONG):
        assert (pixels == color).all(-1).sum() == 36 * 36 - 30 * 30


@pytest.mark.parametrize("stacked", [False, True])
def test_panels_go_to_the_next_row_where_there_is_no_room(stacked: bool):
    panels = [Panel(square("red", 300))] * 6
    sheet = Report("a", [], [Entry("b", [], panels, stacked)]).sheet()
    assert sheet.width <= LIMIT + 16
    red = (np.asarray(sheet) == [255, 0, 0]).all(-1)
    assert red.sum() == 6 * 300 * 300
    assert red.any(1).sum() == (1800 if stacked else 600)


def test_long_texts_are_wrapped_and_nothing_is_clipped():
    text = "a caption that goes on and on " * 20 + "x" * 500
    sheet = np.asarray(Report(text, [text], [Entry(text, [text], [Panel(square(), text)])]).sheet())
    assert sheet.shape[1] < LIMIT
    # A margin stays white on every side.
    for edge in (sheet[:4], sheet[-4:], sheet[:, :4], sheet[:, -4:]):
        assert (edge == 255).all()


def test_both_files_are_written(tmp_path: Path):
    page = Report("ä中\udcff", [], [Entry("b")]).save(tmp_path / "new" / "a.png")
    assert page.read_text(encoding="utf-8").count("ä中") == 2
    assert Image.open(tmp_path / "new" / "a.png").size[0] > 0
    with pytest.raises(ValueError, match="ending in .png"):
        Report("a").save(tmp_path / "a.html")
