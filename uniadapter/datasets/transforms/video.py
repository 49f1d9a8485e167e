"""Geometry of the frames: one crop, one flip, one size for all frames of a sample."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image

from ...registry import TRANSFORMS

#: How pixels are interpolated: as BLIP's preprocessing does, or as VSE-infinity's.
INTERPOLATIONS = ("bicubic", "bilinear")


def resize_frames(
    frames: np.ndarray, size: tuple[int, int], interpolation: str = "bicubic"
) -> np.ndarray:
    """Resize frames.

    Args:
        frames: (N, H, W, 3) uint8.
        size: (height, width) wanted.
        interpolation: ``'bicubic'`` with antialiasing (Pillow), or ``'bilinear'`` between the four
            nearest pixels, without (OpenCV).

    Returns:
        (N, height, width, 3) uint8.
    """
    if frames.shape[1:3] == size:
        return frames
    height, width = size
    if interpolation == "bilinear":
        return np.stack([_bilinear(np.ascontiguousarray(frame), height, width) for frame in frames])
    bicubic = Image.Resampling.BICUBIC
    return np.stack(
        [np.asarray(Image.fromarray(frame).resize((width, height), bicubic)) for frame in frames]
    )


def _bilinear(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR))


def _known(owner: str, interpolation: str) -> str:
    if interpolation not in INTERPOLATIONS:
        raise ValueError(
            f"{owner}: interpolation={interpolation!r} is unknown: choose from "
            f"{list(INTERPOLATIONS)}."
        )
    return interpolation


def _positive_size(owner: str, size: int | Sequence[int]) -> tuple[int, int]:
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or any(not isinstance(side, int) or side < 1 for side in pair):
        raise ValueError(
            f"{owner}: size must be a positive number of pixels or a pair (height, width), got "
            f"{size!r}."
        )
    return pair[0], pair[1]


def _range(owner: str, name: str, bounds: Sequence[float]) -> tuple[float, float]:
    pair = bounds if isinstance(bounds, Sequence) and len(bounds) == 2 else (0, 0)
    if not 0 < pair[0] <= pair[1]:
        raise ValueError(f"{owner}: {name} must be a pair 0 < low <= high, got {bounds!r}.")
    return float(bounds[0]), float(bounds[1])


@TRANSFORMS.register_module()
class VideoResize(BaseTransform):
    """Resize all frames to a fixed size, without keeping the aspect ratio.

    Required and changed key: ``frames``, (N, H, W, 3) uint8.

    Args:
        size: Side of a square, or (height, width), in pixels.
        interpolation: ``'bicubic'``, as BLIP, or ``'bilinear'``, as VSE-infinity; see
            :func:`resize_frames`.
    """

    def __init__(self, size: int | Sequence[int], interpolation: str = "bicubic") -> None:
        self.size = _positive_size("VideoResize", size)
        self.interpolation = _known("VideoResize", interpolation)

    def transform(self, results: dict) -> dict:
        """Resize ``frames``."""
        results["frames"] = resize_frames(results["frames"], self.size, self.interpolation)
        return results

    def __repr__(self) -> str:
        more = "" if self.interpolation == "bicubic" else f", interpolation={self.interpolation!r}"
        return f"{type(self).__name__}(size={self.size}{more})"


@TRANSFORMS.register_module()
class VideoRatioCrop(BaseTransform):
    """Cut a random rectangle of the frame's own aspect ratio out of all frames.

    One share, drawn uniformly, is that of both sides; the place is drawn as well. VSE-infinity's
    augmentation, with ``VideoResize`` behind it.

    Required and changed key: ``frames``, (N, H, W, 3) uint8.

    Args:
        ratio: Smallest and largest share of the sides, (0, 1].
    """

    def __init__(self, ratio: Sequence[float] = (0.6, 1.0)) -> None:
        self.ratio = _range("VideoRatioCrop", "ratio", ratio)
        if self.ratio[1] > 1:
            raise ValueError(f"VideoRatioCrop: ratio is a share, at most 1, got {ratio!r}.")

    def transform(self, results: dict) -> dict:
        """Crop ``frames``."""
        frames = results["frames"]
        share = random.uniform(*self.ratio)
        height, width = (max(1, int(side * share)) for side in frames.shape[1:3])
        top = random.randint(0, frames.shape[1] - height)
        left = random.randint(0, frames.shape[2] - width)
        results["frames"] = frames[:, top : top + height, left : left + width]
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(ratio={self.ratio})"


@TRANSFORMS.register_module()
class VideoCenterCrop(BaseTransform):
    """Bring the shorter side of all frames to a size, and cut the square in the middle, as CLIP.

    Sizes and offsets are rounded as torchvision's ``Resize`` and ``CenterCrop`` round them.

    Required and changed key: ``frames``, (N, H, W, 3) uint8.

    Args:
        size: Side of the square, in pixels.
    """

    def __init__(self, size: int) -> None:
        if not isinstance(size, int):
            raise ValueError(f"VideoCenterCrop: size must be one number of pixels, got {size!r}.")
        self.size = _positive_size("VideoCenterCrop", size)[0]

    def transform(self, results: dict) -> dict:
        """Resize and crop ``frames``."""
        frames, size = results["frames"], self.size
        height, width = frames.shape[1:3]
        short, long = min(height, width), int(size * max(height, width) / min(height, width))
        wanted = (size, long) if height == short else (long, size)
        frames = resize_frames(frames, wanted)
        top, left = (round((side - size) / 2) for side in wanted)
        results["frames"] = np.ascontiguousarray(frames[:, top : top + size, left : left + size])
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={self.size})"


@TRANSFORMS.register_module()
class VideoRandomResizedCrop(BaseTransform):
    """Cut one random rectangle out of all frames and resize it.

    The area of the rectangle is a uniform share of the frame's, its aspect ratio log-uniform. When
    ten draws don't fit in the frame, the largest centred rectangle within the ratios is taken.

    Required and changed key: ``frames``, (N, H, W, 3) uint8.

    Args:
        size: Side of a square, or (height, width), in pixels.
        scale: Smallest and largest share of the area, (0, 1].
        ratio: Smallest and largest width / height.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        scale: Sequence[float] = (0.5, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
    ) -> None:
        owner = type(self).__name__
        self.size = _positive_size(owner, size)
        self.scale = _range(owner, "scale", scale)
        self.ratio = _range(owner, "ratio", ratio)
        if self.scale[1] > 1:
            raise ValueError(f"{owner}: scale is a share of the area, at most 1, got {scale!r}.")

    def transform(self, results: dict) -> dict:
        """Crop and resize ``frames``."""
        frames = results["frames"]
        top, left, height, width = self.draw_box(*frames.shape[1:3])
        cropped = frames[:, top : top + height, left : left + width]
        results["frames"] = resize_frames(np.ascontiguousarray(cropped), self.size)
        return results

    def draw_box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Draw (top, left, height, width) inside a frame of this height and width."""
        low, high = (math.log(bound) for bound in self.ratio)
        for _ in range(10):
            area = height * width * random.uniform(*self.scale)
            ratio = math.exp(random.uniform(low, high))
            box_width = round(math.sqrt(area * ratio))
            box_height = round(math.sqrt(area / ratio))
            if 0 < box_width <= width and 0 < box_height <= height:
                top = random.randint(0, height - box_height)
                left = random.randint(0, width - box_width)
                return top, left, box_height, box_width
        ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
        box_height = max(1, min(height, round(width / ratio)))
        box_width = max(1, min(width, round(height * ratio)))
        return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={self.size}, scale={self.scale}, ratio={self.ratio})"


@TRANSFORMS.register_module()
class VideoFlip(BaseTransform):
    """Mirror all frames left to right, with a probability.

    As in BLIP the caption is not looked at: set ``prob=0`` where captions speak of left and right.

    Required and changed key: ``frames``, (N, H, W, 3) uint8.

    Args:
        prob: Probability in [0, 1].
    """

    def __init__(self, prob: float = 0.5) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f"VideoFlip: prob must be in [0, 1], got {prob}.")
        self.prob = prob

    def transform(self, results: dict) -> dict:
        """Mirror ``frames``, or leave them."""
        if random.random() < self.prob:
            results["frames"] = results["frames"][:, :, ::-1]
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(prob={self.prob})"
