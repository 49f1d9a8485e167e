"""Pictures as squares of RGB bytes on white."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

# A drawing is rasterised larger than it will be, and then made smaller as a photograph is.
_OVERSIZE = 2
_PACKAGES = ("cairosvg", "resvg_py")

Raster = Callable[[Path, int], bytes]
"""Draws an SVG file so many pixels wide: the bytes of a PNG."""


class PictureError(ValueError):
    """A picture that can't be read."""


def _with_cairosvg(path: Path, width: int) -> bytes:
    # Not `unsafe`: a drawing must not open other files.
    drawn: bytes = importlib.import_module("cairosvg").svg2png(url=str(path), output_width=width)
    return drawn


def _with_resvg(path: Path, width: int) -> bytes:
    drawn = importlib.import_module("resvg_py").svg_to_bytes(svg_path=str(path), width=width)
    return bytes(drawn)


def find_raster(name: str | None = None) -> Raster:
    """The package that draws SVG files.

    Args:
        name (str, optional): ``'cairosvg'`` or ``'resvg_py'``. Defaults to None: the first that is
            installed.

    Raises:
        ValueError: If the name is another one.
        ImportError: If it, or both of them, are not installed.
    """
    if name is not None and name not in _PACKAGES:
        raise ValueError(f"--raster {name}: choose from {', '.join(_PACKAGES)}.")
    reasons = []
    for package in (name,) if name else _PACKAGES:
        try:
            importlib.import_module(package)
        except (ImportError, OSError) as error:
            # cairosvg without the C library is an OSError.
            reasons.append(f"{package}: {error}")
            continue
        return _with_cairosvg if package == "cairosvg" else _with_resvg
    raise ImportError(
        "SVG drawings need a rasteriser: pip install cairosvg (and the library libcairo2), or "
        f"pip install resvg_py; --no-svg leaves drawings out. ({'; '.join(reasons)})"
    )


def load_picture(path: Path, size: int, raster: Raster | None) -> np.ndarray:
    """Read a picture and put all of it on a white square.

    Args:
        path (Path): PNG or SVG.
        size (int): Side of the square in pixels.
        raster (Callable, optional): For SVG.

    Returns:
        ndarray: (size, size, 3) uint8.

    Raises:
        PictureError: If it can't be read or drawn, or is empty.
    """
    try:
        if path.suffix.lower() == ".svg":
            if raster is None:
                raise PictureError("an SVG drawing, and there is no rasteriser")
            source: Path | io.BytesIO = io.BytesIO(raster(path, size * _OVERSIZE))
        else:
            source = path
        with Image.open(source) as image:
            return on_white(image.convert("RGBA"), size)
    except PictureError:
        raise
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise PictureError(f"{type(error).__name__}: {error}") from error
    except Exception as error:
        # Rasterisers raise whatever their parsers do: a KeyError, a ZeroDivisionError.
        if path.suffix.lower() != ".svg":
            raise
        raise PictureError(f"can't be drawn, {type(error).__name__}: {error}") from error


def on_white(image: Image.Image, size: int) -> np.ndarray:
    """A picture (RGBA) in the middle of a white square, its longer side filling it.

    Returns:
        ndarray: (size, size, 3) uint8.

    Raises:
        PictureError: If nothing of it can be seen.
    """
    box = image.getchannel("A").getbbox()
    if box is None:
        raise PictureError("nothing of it can be seen: it is wholly transparent")
    scale = size / max(image.size)
    width, height = (max(round(side * scale), 1) for side in image.size)
    # Premultiplied, so that what transparent pixels hold does not bleed into the edges.
    small = image.convert("RGBa").resize((width, height), Image.Resampling.BICUBIC)
    square = Image.new("RGBA", (size, size), (255, 255, 255, 255))
    place = ((size - width) // 2, (size - height) // 2)
    square.alpha_composite(small.convert("RGBA"), place)
    return np.asarray(square.convert("RGB"))
