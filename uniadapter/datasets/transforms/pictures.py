"""Readers of pictures: folders of frames and single images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from ...utils.json_files import parse_json
from ..media import STILL_EXTENSIONS, VIDEO_EXTENSIONS, MediaError, missing_medium
from .base_backend import VideoBackend, error_summary

#: What the index of a folder of extracted frames is called, and the version read here.
INDEX_NAME = "frames.json"
INDEX_VERSION = 1

# EXIF: the number of the note, and its values for pictures that lie on a side.
_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)


class FramesBackend(VideoBackend):
    """A folder of pictures, one a frame; only the wanted ones are read.

    A folder of ``tools/dataset_converters/extract_frames.py`` holds ``frames.json``
    (:data:`INDEX_NAME`), which says how many frames there are and what they are called. In any
    other folder the pictures are the frames, in the order of their sorted names.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        if not os.path.isdir(path):
            raise MediaError(path, "is a file; a folder of frames is expected (backend 'frames')")
        index = read_index(path)
        # With an index the folder needn't be listed, which is slow for many frames and over nets.
        self._names = _pictures(path) if index is None else frame_names(index)

    def __len__(self) -> int:
        return len(self._names)

    def get_frames(self, indices: Sequence[int]) -> np.ndarray:
        """See :meth:`VideoBackend.get_frames`."""
        frames = {i: read_image(os.path.join(self.path, self._names[i])) for i in set(indices)}
        shapes = {frame.shape for frame in frames.values()}
        if len(shapes) > 1:
            raise MediaError(self.path, f"the frames differ in size: {sorted(shapes)}")
        return np.stack([frames[i] for i in indices])


def _pictures(path: str) -> list[str]:
    names = sorted(name for name in os.listdir(path) if name.lower().endswith(STILL_EXTENSIONS))
    if not names:
        raise MediaError(path, f"the folder has no picture {STILL_EXTENSIONS}", "empty")
    return names


def read_index(path: str) -> dict[str, Any] | None:
    """Read the index of a folder of extracted frames.

    Args:
        path: The folder.

    Returns:
        The content of its ``frames.json``, None when it has none. docs/decoding.md has the keys.

    Raises:
        MediaError: When the index is broken or of another version.
    """
    file = os.path.join(path, INDEX_NAME)
    try:
        with open(file, "rb") as stream:
            index = parse_json(stream.read())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise MediaError(file, f"can't be read: {error_summary(error)}") from error
    remedy = "extract the frames again with tools/dataset_converters/extract_frames.py --overwrite"
    if not isinstance(index, dict) or index.get("version") != INDEX_VERSION:
        raise MediaError(file, f"is no index of version {INDEX_VERSION}; {remedy}")
    numbers, image = index.get("numbers"), index.get("image")
    if not isinstance(numbers, list) or not numbers or f".{image}" not in STILL_EXTENSIONS:
        raise MediaError(file, f"its 'numbers' or 'image' are missing or empty; {remedy}")
    return index


def frame_names(index: dict[str, Any]) -> list[str]:
    """Names of the files that an index stands for: ``000001.jpg`` and so on."""
    return [f"{place:06d}.{index['image']}" for place in range(1, len(index["numbers"]) + 1)]


class ImageBackend(VideoBackend):
    """One picture, as a video of one frame."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        if os.path.isdir(path):
            raise MediaError(path, "is a folder; a picture is expected (backend 'image')")
        self._frame = read_image(path)

    def __len__(self) -> int:
        return 1

    def get_frames(self, indices: Sequence[int]) -> np.ndarray:
        """See :meth:`VideoBackend.get_frames`."""
        return np.repeat(self._frame[None], len(indices), axis=0)


def is_picture(path: str) -> bool:
    """Whether a file is a picture, by its extension or, where that says nothing, its first bytes.

    A GIF is none: it may have many frames.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix in STILL_EXTENSIONS or suffix in VIDEO_EXTENSIONS:
        return suffix in STILL_EXTENSIONS
    try:
        Image.open(path, formats=("JPEG", "PNG", "BMP", "WEBP", "TIFF")).close()
    # Pillow reports broken pictures as several unrelated classes.
    except Exception:
        return False
    return True


def read_image(path: str, truncated: bool = False) -> np.ndarray:
    """Read a picture as (H, W, 3) uint8 RGB, upright.

    Grey, palette and CMYK pictures are converted; 16 bits a channel are scaled to 8; what is
    transparent lies on white; of an animation the first frame counts; the orientation that EXIF
    notes is applied.

    Args:
        path: The file.
        truncated: Read a truncated picture as far as it goes, the rest being grey.

    Raises:
        MediaError: When it can't be read whole.
    """
    if not os.path.exists(path):
        raise missing_medium(path)
    if os.path.getsize(path) == 0:
        raise MediaError(path, "the file is empty", "empty")
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = truncated or before
    try:
        with Image.open(path) as image:
            return picture_of(image)
    except UnidentifiedImageError as error:
        raise MediaError(path, "is no picture in a known format", "undecodable") from error
    # Pillow reports broken pictures as OSError, SyntaxError, ValueError or struct.error.
    except Exception as error:
        kind = "truncated" if "truncated" in str(error) else "undecodable"
        raise MediaError(path, error_summary(error), kind) from error
    finally:
        # Pillow has one switch for the whole process.
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def picture_of(image: Image.Image) -> np.ndarray:
    """Pixels of Pillow's picture, (H, W, 3) uint8 RGB, as :func:`read_image` gives those of a file.

    Raises:
        ValueError: When its pixels have no known range.
    """
    return _as_rgb(_upright(image))


def picture_size(path: str) -> tuple[int, int] | None:
    """(height, width) of a picture, upright, from its head; None if it can't be read."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            # Pillow raises several unrelated errors for broken notes, which leave it as it is.
            with suppress(Exception):
                if image.getexif().get(_ORIENTATION) in _TURNED:
                    width, height = height, width
            return height, width
    # A broken picture is reported when it is read whole.
    except Exception:
        return None


def _upright(image: Image.Image) -> Image.Image:
    try:
        image.getexif()
    # A picture whose notes are broken is no broken picture.
    except Exception:
        return image
    return ImageOps.exif_transpose(image)


def _as_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):
        # Pillow's own conversion cuts values at 255: such a picture would come out white.
        values = np.asarray(image).astype(np.int64)
        grey = (values.clip(0, 65535) // 257).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("pixels of floating point have no known range; save it with 8 or 16 bits")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.asarray(image.convert("RGB"))
