"""A report of pictures and texts: one PNG, and one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageDraw

from uniadapter.utils.safe_folders import staged_folder
from uniadapter.utils.safe_io import atomic_write

from .letters import wrapped

#: Colours of the frames around what is right, and around what is not.
RIGHT, WRONG = (40, 170, 70), (190, 190, 190)
BORDER, GAP = 3, 8
#: Widest row of panels, and the least that texts are given, in pixels.
LIMIT, LEAST = 1400, 420
_SIZES = {"h1": 18, "h2": 14, "p": 13, "figcaption": 12}
_STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:1500px;padding:0 1em;"
    "color:#222;background:#fff}h1{font-size:1.5em}h2{font-size:1.1em;margin:2em 0 .3em}"
    "p{margin:.2em 0;overflow-wrap:anywhere}.panels{display:flex;flex-wrap:wrap;gap:10px}"
    ".stacked{flex-direction:column;gap:0}"
    "figure{margin:.4em 0;max-width:100%}img{display:block;max-width:100%;height:auto}"
    "figcaption{color:#555;font-size:.85em;overflow-wrap:anywhere}"
    ".right img{border:3px solid #28aa46}.wrong img{border:3px solid #bebebe}"
)
# Whatever a caption holds, a browser loads nothing and runs nothing.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@dataclass
class Panel:
    """A picture of an entry.

    Attributes:
        picture (Image): What is shown.
        title (str): What stands above it.
        right (bool, optional): In a green frame (True), a grey one (False) or none.
    """

    picture: Image.Image
    title: str = ""
    right: bool | None = None

    def framed(self) -> Image.Image:
        """The picture in its frame."""
        if self.right is None:
            return self.picture
        size = (self.picture.width + 2 * BORDER, self.picture.height + 2 * BORDER)
        sheet = Image.new("RGB", size, RIGHT if self.right else WRONG)
        sheet.paste(self.picture, (BORDER, BORDER))
        return sheet


@dataclass
class Entry:
    """A query, a question or a figure: a title, lines of text and panels.

    Attributes:
        title (str): What it is.
        lines (Sequence[str]): Further facts.
        panels (Sequence[Panel]): Pictures, side by side as far as there is room.
        stacked (bool): Each panel below the one before it instead.
    """

    title: str
    lines: Sequence[str] = ()
    panels: Sequence[Panel] = ()
    stacked: bool = False


@dataclass
class Report:
    """Entries below each other.

    Attributes:
        title (str): What all are about.
        lines (list[str]): Where they come from.
        entries (list[Entry]): What is shown.
    """

    title: str
    lines: list[str] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)

    def sheet(self) -> Image.Image:
        """All entries as one picture."""
        rows = [_drawn(entry) for entry in self.entries]
        # The head is wrapped to what the entries take.
        width = max([LEAST, *(row.width for row in rows)])
        head = _texts([(self.title, "h1"), *((line, "p") for line in self.lines)], width)
        return _below([head, *rows], 2 * GAP, GAP)

    def html(self) -> str:
        """All entries as a page."""
        parts = [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width">',
            f"<title>{_escaped(self.title)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{_escaped(self.title)}</h1>",
            *(f"<p>{_escaped(line)}</p>" for line in self.lines),
        ]
        for entry in self.entries:
            parts.append(f"<section><h2>{_escaped(entry.title)}</h2>")
            parts += [f"<p>{_escaped(line)}</p>" for line in entry.lines]
            kind = "panels stacked" if entry.stacked else "panels"
            parts += [f'<div class="{kind}">', *map(_figure, entry.panels), "</div></section>"]
        return "\n".join([*parts, "</body></html>"]) + "\n"

    def save(self, path: str | Path) -> Path:
        """Write the PNG, and the HTML under the same name.

        Args:
            path (str | Path): File of the picture, ending in ``.png``; its folder is made.

        Returns:
            Path: Of the HTML file.

        Raises:
            ValueError: If the name has another ending.
            WriteError: If the disk is full, read-only or the like; both are as they were.
        """
        target = png_path(path)
        buffer = io.BytesIO()
        self.sheet().save(buffer, "png", optimize=True)
        page = target.with_suffix(".html")
        text = self.html().encode("utf-8", "backslashreplace")
        with staged_folder(target.parent, page.name) as inside:
            atomic_write(inside / target.name, buffer.getvalue(), sync=False)
            atomic_write(inside / page.name, text, sync=False)
        return page


def png_path(path: str | Path) -> Path:
    """The file that a picture is written to.

    Raises:
        ValueError: If it does not end in ``.png``.
    """
    target = Path(path)
    if target.suffix.lower() != ".png":
        raise ValueError(
            f"{path}: name a file ending in .png; the report stands beside it as .html."
        )
    return target


def _escaped(text: str) -> str:
    return html.escape(text.replace("\0", "\\0"))


def _figure(panel: Panel) -> str:
    buffer = io.BytesIO()
    panel.picture.convert("RGB").save(buffer, "png", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    kind = {None: "", True: ' class="right"', False: ' class="wrong"'}[panel.right]
    title = _escaped(panel.title)
    return (
        f"<figure{kind}><figcaption>{title}</figcaption>"
        f'<img alt="{title}" src="data:image/png;base64,{data}"></figure>'
    )


def _texts(texts: Sequence[tuple[str, str]], width: int) -> Image.Image:
    """Texts below each other, each of a kind of :data:`_SIZES`, wrapped to a width."""
    lines = [
        (line, font, _SIZES[kind], (110, 110, 110) if kind == "figcaption" else (0, 0, 0))
        for text, kind in texts
        for line, font in wrapped(text, width, _SIZES[kind])
    ]
    height = sum(round(1.35 * size) for _, _, size, _ in lines)
    wide = max((round(font.getlength(line)) + 1 for line, font, _, _ in lines), default=1)
    sheet = Image.new("RGB", (max(1, wide), max(1, height)), "white")
    pen, top = ImageDraw.Draw(sheet), 0
    for line, font, size, color in lines:
        pen.text((0, top), line, fill=color, font=font)
        top += round(1.35 * size)
    return sheet


def _below(pictures: Sequence[Image.Image], gap: int, margin: int = 0) -> Image.Image:
    width = max(p.width for p in pictures) + 2 * margin
    height = sum(p.height for p in pictures) + gap * (len(pictures) - 1) + 2 * margin
    sheet, top = Image.new("RGB", (width, height), "white"), margin
    for picture in pictures:
        sheet.paste(picture, (margin, top))
        top += picture.height + gap
    return sheet


def _drawn(entry: Entry) -> Image.Image:
    """An entry as a picture: texts, then rows of panels under their titles."""
    cells = [_cell(panel) for panel in entry.panels]
    rows: list[list[Image.Image]] = []
    for cell in cells:
        used = sum(c.width + GAP for c in rows[-1]) if rows else 0
        if rows and not entry.stacked and used + cell.width <= LIMIT:
            rows[-1].append(cell)
        else:
            rows.append([cell])
    lines = [_beside(row) for row in rows]
    width = max([LEAST, *(line.width for line in lines)])
    head = _texts([(entry.title, "h2"), *((line, "p") for line in entry.lines)], width)
    return _below([head, *lines], GAP // 2)


def _cell(panel: Panel) -> Image.Image:
    picture = panel.framed()
    if not panel.title:
        return picture
    return _below([_texts([(panel.title, "figcaption")], max(picture.width, 120)), picture], 2)


def _beside(cells: Sequence[Image.Image]) -> Image.Image:
    height = max(cell.height for cell in cells)
    width = sum(cell.width for cell in cells) + GAP * (len(cells) - 1)
    sheet, left = Image.new("RGB", (width, height), "white"), 0
    for cell in cells:
        # Titles of several lines stand above pictures that end on one line.
        sheet.paste(cell, (left, height - cell.height))
        left += cell.width + GAP
    return sheet
