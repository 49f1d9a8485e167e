"""Letters on pictures: a font that has them, lines that fit, and what no font has spelled out."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import ImageFont

try:
    import matplotlib
    from matplotlib import font_manager
except ImportError:
    matplotlib = None  # type: ignore[assignment]

#: Fonts with letters that DejaVu Sans lacks, of which some are installed here or there.
_WIDE = ("notosanscjk", "sourcehansans", "wqy", "droidsansfallback", "unifont", "ipaexg", "nanum")
#: A place that no font has a letter for.
_NOTHING = "\U0010ffff"


@lru_cache(maxsize=1)
def _files() -> tuple[str, ...]:
    """Font files in order of preference; empty without matplotlib, which brings the first one."""
    if matplotlib is None:
        return ()
    first = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    others = sorted(font_manager.findSystemFonts())
    wide = [path for path in others if Path(path).stem.lower().replace("-", "").startswith(_WIDE)]
    return tuple(path for path in (str(first), *wide) if Path(path).is_file())


@lru_cache(maxsize=64)
def _fonts(size: int) -> tuple[Any, ...]:
    found = []
    for path in _files():
        try:
            found.append(ImageFont.truetype(path, size))
        except OSError:
            continue
    return tuple(found) or (ImageFont.load_default(size),)


@lru_cache(maxsize=4096)
def _has(font: Any, letter: str) -> bool:
    """Whether a font draws a letter as anything but the box that stands for what it lacks."""
    try:
        return letter.isspace() or bytes(font.getmask(letter)) != bytes(font.getmask(_NOTHING))
    except UnicodeEncodeError:
        return False


def _clean(text: str) -> str:
    """One line in composed letters; control characters and halves of letters as their escapes."""
    text = unicodedata.normalize("NFC", " ".join(text.split()))
    return "".join(
        letter.encode("unicode_escape").decode()
        if unicodedata.category(letter)[0] == "C"
        else letter
        for letter in text
    )


def drawable(text: str, size: int = 13) -> tuple[str, Any]:
    r"""A text as it can be drawn, and the font for it.

    Args:
        text (str): Any text; line breaks become blanks.
        size (int): Of the letters in pixels. Defaults to 13.

    Returns:
        tuple: The text, in which letters that no font here has are spelled as their escapes, such
        as ``\u4e2d``, and a font of Pillow.
    """
    text, fonts = _clean(text), _fonts(size)
    for font in fonts:
        if all(_has(font, letter) for letter in set(text)):
            return text, font
    font = fonts[0]
    return "".join(
        letter if _has(font, letter) else letter.encode("ascii", "backslashreplace").decode()
        for letter in text
    ), font


def wrapped(text: str, width: int, size: int = 13) -> list[tuple[str, Any]]:
    """Lines of a text that are at most so wide, each with its font.

    Args:
        text (str): Any text.
        width (int): In pixels; a word that is wider is cut.
        size (int): Of the letters in pixels. Defaults to 13.

    Returns:
        list: Pairs (line, font); one empty line of an empty text.
    """
    text, font = drawable(text, size)
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if font.getlength(longer) <= width:
            line = longer
            continue
        if line:
            lines.append(line)
        while font.getlength(word) > width and len(word) > 1:
            fits = max(1, _fitting(word, width, font))
            lines.append(word[:fits])
            word = word[fits:]
        line = word
    return (
        [(part, font) for part in (*lines, line)]
        if line or not lines
        else [(part, font) for part in lines]
    )


def _fitting(word: str, width: int, font: Any) -> int:
    """How many letters of a word fit, by halving."""
    low, high = 0, len(word)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(word[:middle]) <= width else (low, middle - 1)
    return low
