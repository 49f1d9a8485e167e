"""Frames of a video side by side, with weights below them and heat over them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from .letters import drawable

GAP = 2
_BAR, _LABEL = 10, 16
#: From little to much: dark blue, green, yellow, red.
_STOPS = np.array([(30, 30, 110), (20, 130, 140), (90, 190, 90), (250, 220, 60), (230, 40, 30)])


def colors_of(values: np.ndarray) -> np.ndarray:
    """Colours of values in 0..1.

    Args:
        values (ndarray): (...); what lies outside counts as 0 or 1.

    Returns:
        ndarray: (..., 3) uint8.
    """
    place = np.clip(np.nan_to_num(values), 0, 1) * (len(_STOPS) - 1)
    low = np.minimum(place.astype(int), len(_STOPS) - 2)
    share = (place - low)[..., None]
    return (_STOPS[low] * (1 - share) + _STOPS[low + 1] * share).round().astype(np.uint8)


def sized(frame: np.ndarray, height: int) -> Image.Image:
    """A frame (H, W, 3) uint8 at a height in pixels, its proportions kept."""
    width = max(1, round(height * frame.shape[1] / frame.shape[0]))
    return Image.fromarray(np.ascontiguousarray(frame)).resize(
        (width, height), Image.Resampling.BICUBIC
    )


def heated(frame: np.ndarray, heat: np.ndarray, height: int, strength: float = 0.55) -> Image.Image:
    """A frame with the colours of a heat map over it.

    Args:
        frame (ndarray): (H, W, 3) uint8.
        heat (ndarray): (rows, columns) in 0..1, of the patches that the frame is cut into.
        height (int): Of the picture, in pixels.
        strength (float): Share of the colour. Defaults to 0.55.
    """
    picture = sized(frame, height)
    # Every patch in one colour: that is what the model knows.
    over = Image.fromarray(colors_of(heat)).resize(picture.size, Image.Resampling.NEAREST)
    return Image.blend(picture, over, strength)


def strip(
    pictures: Sequence[Image.Image],
    weights: Sequence[float] | None = None,
    limit: int = 1200,
) -> Image.Image:
    """Pictures side by side, in as many rows as they need.

    Args:
        pictures (Sequence): Frames of equal height, at least one.
        weights (Sequence, optional): One a frame, drawn as bars below them, the longest as wide as
            its frame, and in figures.
        limit (int): Width in pixels from which a new row begins. Defaults to 1200.

    Raises:
        ValueError: If there are no pictures, or not one weight a picture.
    """
    if not pictures:
        raise ValueError("A strip needs at least one frame.")
    if weights is not None and len(weights) != len(pictures):
        raise ValueError(f"{len(pictures)} frames have {len(weights)} weights.")
    width, height = max(p.width for p in pictures), max(p.height for p in pictures)
    columns = max(1, min(len(pictures), (limit + GAP) // (width + GAP)))
    rows = -(-len(pictures) // columns)
    cell = height + (0 if weights is None else _BAR + _LABEL)
    sheet = Image.new("RGB", (columns * (width + GAP) - GAP, rows * (cell + GAP) - GAP), "white")
    pen = ImageDraw.Draw(sheet)
    most = max((abs(w) for w in weights or () if np.isfinite(w)), default=0.0) or 1.0
    for number, picture in enumerate(pictures):
        left, top = number % columns * (width + GAP), number // columns * (cell + GAP)
        sheet.paste(picture, (left, top))
        if weights is None:
            continue
        weight = weights[number]
        share = float(np.clip(np.nan_to_num(weight / most), 0, 1))
        bar = (
            left,
            top + height + 2,
            left + max(1, round(share * width)) - 1,
            top + height + _BAR - 2,
        )
        pen.rectangle(bar, fill=tuple(int(c) for c in colors_of(np.array(share))))
        text, font = drawable(f"{weight:.3g}", 11)
        pen.text((left, top + height + _BAR), text, fill=(60, 60, 60), font=font)
    return sheet


def color_bar(low: str, high: str, width: int = 220) -> Image.Image:
    """What the colours of :func:`colors_of` mean, from the least to the most.

    Args:
        low (str): What stands at the left end.
        high (str): What stands at the right end.
        width (int): Of the bar in pixels, without its ends. Defaults to 220.
    """
    (left, font), (right, _) = drawable(low, 12), drawable(high, 12)
    start, end = (round(font.getlength(text)) + 6 for text in (left, right))
    sheet = Image.new("RGB", (start + width + end, 18), "white")
    colors = np.repeat(colors_of(np.linspace(0, 1, width))[None], 12, axis=0)
    sheet.paste(Image.fromarray(colors), (start, 3))
    pen = ImageDraw.Draw(sheet)
    pen.text((0, 1), left, fill=(60, 60, 60), font=font)
    pen.text((start + width + 6, 1), right, fill=(60, 60, 60), font=font)
    return sheet
