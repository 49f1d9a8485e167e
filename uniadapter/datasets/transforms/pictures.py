"""Readers of pictures: folders of frames and single images."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..media import IMAGE_EXTENSIONS, MediaError
from .base_backend import VideoBackend, error_summary


class FramesBackend(VideoBackend):
    """A folder of pictures, one a frame, in the order of their sorted names."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        if not os.path.isdir(path):
            raise MediaError(path, "is a file; a folder of frames is expected (backend 'frames')")
        self._names = sorted(
            name for name in os.listdir(path) if name.lower().endswith(IMAGE_EXTENSIONS)
        )
        if not self._names:
            raise MediaError(path, f"the folder has no picture {IMAGE_EXTENSIONS}", "empty")

    def __len__(self) -> int:
        return len(self._names)

    def get_frames(self, indices: Sequence[int]) -> np.ndarray:
        """See :meth:`VideoBackend.get_frames`."""
        frames = {i: read_image(os.path.join(self.path, self._names[i])) for i in set(indices)}
        shapes = {frame.shape for frame in frames.values()}
        if len(shapes) > 1:
            raise MediaError(self.path, f"the frames differ in size: {sorted(shapes)}")
        return np.stack([frames[i] for i in indices])


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


def read_image(path: str) -> np.ndarray:
    """Read a picture as (H, W, 3) uint8 RGB, upright.

    Grey, palette and CMYK pictures are converted; 16 bits a channel are scaled to 8; what is
    transparent lies on white; of an animation the first frame counts; the orientation that EXIF
    notes is applied.

    Raises:
        MediaError: When it can't be read whole.
    """
    if os.path.getsize(path) == 0:
        raise MediaError(path, "the file is empty", "empty")
    try:
        with Image.open(path) as image:
            return _as_rgb(_upright(image))
    except UnidentifiedImageError as error:
        raise MediaError(path, "is no picture in a known format", "undecodable") from error
    # Pillow reports broken pictures as OSError, SyntaxError, ValueError or struct.error.
    except Exception as error:
        kind = "truncated" if "truncated" in str(error) else "undecodable"
        raise MediaError(path, error_summary(error), kind) from error


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
