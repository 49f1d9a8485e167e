"""Where the pictures are and what their packages call them; nothing is decoded here.

``tuxpaint-stamps-default``: a stem ``NAME`` has ``NAME.txt``, whose first line is the English
description, and ``NAME.png`` or ``NAME.svg``. ``openclipart-svg``: the name of a file says what it
shows more often than its title does, which is a collection's for many.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

#: Letters, digits and coins: nobody could tell them from a description but by reading.
NO_THINGS = ("symbols",)
#: Of the drawings those of things; the others are icons, arrows, stars, flags, patterns.
THINGS = (
    "animals",
    "buildings",
    "containers",
    "education",
    "electronics",
    "food",
    "office",
    "people",
    "plants",
    "recreation",
    "science",
    "tools",
    "transportation",
)
_TITLE = "{http://purl.org/dc/elements/1.1/}title"
_WORD = re.compile(r"[^\W\d_]{3,}")


class Source(NamedTuple):
    """A picture of a package.

    Attributes:
        path (Path): Its file.
        caption (str): What it shows.
        theme (str): The first folder that it lies in.
    """

    path: Path
    caption: str
    theme: str


class Found(NamedTuple):
    """What a folder holds.

    Attributes:
        sources (list[Source]): Pictures with a caption, in the order of their paths.
        left (Counter): How many were left out, by reason.
    """

    sources: list[Source]
    left: Counter[str]


def top_folder(given: str | Path, *inside: str) -> Path:
    """The folder of the pictures, given itself or by the folder that a package was unpacked to.

    Args:
        given (str | Path): What the user named.
        *inside (str): Where the package has it, from the root.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    root = Path(given)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is no folder: unpack the package there (dpkg -x).")
    deeper = root.joinpath(*inside)
    return deeper if deeper.is_dir() else root


def read_stamps(folder: str | Path, without: tuple[str, ...] = NO_THINGS) -> Found:
    """The stamps of tuxpaint-stamps-default.

    Args:
        folder (str | Path): ``usr/share/tuxpaint/stamps``, or what holds ``usr``.
        without (tuple[str]): Themes that are left out.

    Returns:
        Found: A PNG where a stem has both.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If there is no stamp in it, or a description is no text.
    """
    root = top_folder(folder, "usr", "share", "tuxpaint", "stamps")
    sources, left = [], Counter[str]()
    texts = sorted(root.rglob("*.txt"))
    for path in texts:
        theme = path.relative_to(root).parts[0]
        pictures = [path.with_suffix(kind) for kind in (".png", ".svg")]
        picture = next((p for p in pictures if p.is_file()), None)
        caption = _first_line(path)
        if theme in without:
            left[f"theme {theme}"] += 1
        elif picture is None:
            left["no picture beside the description"] += 1
        elif not caption:
            left["empty description"] += 1
        else:
            sources.append(Source(picture, caption, theme))
    if not sources:
        raise ValueError(
            f"{root} has no stamp (NAME.txt beside NAME.png or NAME.svg): name the folder that "
            "tuxpaint-stamps-default was unpacked to."
        )
    return Found(sources, left)


def _first_line(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text ({error}): unpack the package again.") from error
    return " ".join(lines[0].split()) if lines else ""


def read_clipart(folder: str | Path, themes: tuple[str, ...] = THINGS) -> Found:
    """The drawings of openclipart-svg.

    Args:
        folder (str | Path): ``usr/share/openclipart/svg``, or what holds ``usr``.
        themes (tuple[str]): Those that are wanted.

    Returns:
        Found: Links to a drawing are left out.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If there is no drawing in it.
    """
    root = top_folder(folder, "usr", "share", "openclipart", "svg")
    sources, left = [], Counter[str]()
    for path in sorted(root.rglob("*.svg")):
        theme = path.relative_to(root).parts[0]
        if theme not in themes:
            left[f"theme {theme}"] += 1
        elif path.is_symlink() or not path.is_file():
            left["a link"] += 1
        elif caption := named(path.stem) or _title(path):
            sources.append(Source(path, caption, theme))
        else:
            left["no word in its name or title"] += 1
    if not sources:
        raise ValueError(
            f"{root} has no drawing of the themes {', '.join(themes)}: name the folder that "
            "openclipart-svg was unpacked to."
        )
    return Found(sources, left)


def named(stem: str) -> str:
    """What the name of a file says, in words; empty where it says nothing.

    Numbers and the marks between words are dropped; a word has three letters at least.
    """
    text = re.sub(r"[\W\d_]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", stem))
    return " ".join(text.lower().split()) if _WORD.search(text) else ""


def _title(path: Path) -> str:
    """The title that a drawing has in its metadata; empty where it can't be read."""
    try:
        found = ElementTree.parse(path).getroot().iter(_TITLE)
        titles = [" ".join((element.text or "").split()) for element in found]
    except ElementTree.ParseError:
        return ""
    return next((title for title in titles if _WORD.search(title)), "")
