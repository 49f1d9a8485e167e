"""How a video was held when it was taken: the container's display matrix, applied."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from PIL import Image


def turn_upright(rgb: np.ndarray, frame: Any) -> np.ndarray:
    """Turn and mirror a frame as the container notes it.

    Args:
        rgb: (H, W, 3) uint8, the frame as it is stored.
        frame: PyAV's frame that it was made of.

    Returns:
        (H, W, 3) or (W, H, 3) uint8. Angles other than quarter turns keep the size, as the program
        ``ffmpeg`` does; the corners are then black.
    """
    note = frame.side_data.get("DISPLAYMATRIX")
    if note is None:
        return rgb
    # A point (x, y) is shown at (a x + c y, b x + d y).
    a, b, _, c, d = struct.unpack("=9i", bytes(note))[:5]
    straight, across = abs(a) + abs(d), abs(b) + abs(c)
    if max(straight, across) < 50 * min(straight, across):
        bilinear = Image.Resampling.BILINEAR
        return np.asarray(Image.fromarray(rgb).rotate(frame.rotation, bilinear))
    if across > straight:
        rgb, a, d = rgb.swapaxes(0, 1), c, b
    rgb = rgb[:, ::-1] if a < 0 else rgb
    return np.ascontiguousarray(rgb[::-1] if d < 0 else rgb)
