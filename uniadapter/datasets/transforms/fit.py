"""Pictures of any shape on a canvas of one of two shapes, lying or standing."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform

from ...registry import TRANSFORMS
from .video import resize_frames


def is_lying(height: int, width: int) -> bool:
    """Whether a picture goes on the lying canvas: it is no higher than wide."""
    return width >= height


@TRANSFORMS.register_module()
class FitAndPad(BaseTransform):
    """Resize frames to fit a canvas that lies or stands as they do, and put black around them.

    The aspect ratio stays; the picture is as large as the canvas allows, and what is left is padded
    with zeros on both sides alike (the odd pixel goes right or below).

    Required and changed key: ``frames``, (N, H, W, 3) uint8.

    Args:
        long_side: Longer side of the canvas in pixels.
        short_side: Shorter side of the canvas in pixels.
        enlarge: Also enlarge pictures that are smaller. Defaults to True.

    Raises:
        ValueError: If the sides are no positive numbers, or the short one is longer.
    """

    def __init__(self, long_side: int = 640, short_side: int = 384, enlarge: bool = True) -> None:
        sides = (short_side, long_side)
        if any(not isinstance(side, int) or side < 1 for side in sides) or short_side > long_side:
            raise ValueError(
                "FitAndPad: long_side and short_side must be positive numbers of pixels, the short "
                f"one no longer, got {long_side!r} and {short_side!r}."
            )
        self.long_side, self.short_side, self.enlarge = long_side, short_side, enlarge

    def canvas(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the canvas for a picture of this height and width."""
        sides = (self.short_side, self.long_side)
        return sides if is_lying(height, width) else sides[::-1]

    def fitted(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of a picture on its canvas."""
        high, wide = self.canvas(height, width)
        scale = min(high / height, wide / width)
        scale = scale if self.enlarge else min(scale, 1.0)
        return min(high, max(1, round(height * scale))), min(wide, max(1, round(width * scale)))

    def transform(self, results: dict) -> dict:
        """Resize and pad ``frames``."""
        frames = results["frames"]
        height, width = frames.shape[1:3]
        size, canvas = self.fitted(height, width), self.canvas(height, width)
        fitted = resize_frames(frames, size)
        top, left = ((whole - part) // 2 for whole, part in zip(canvas, size, strict=True))
        padded = np.zeros((len(frames), *canvas, 3), dtype=frames.dtype)
        padded[:, top : top + size[0], left : left + size[1]] = fitted
        results["frames"] = padded
        return results

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(long_side={self.long_side}, short_side={self.short_side}, "
            f"enlarge={self.enlarge})"
        )
