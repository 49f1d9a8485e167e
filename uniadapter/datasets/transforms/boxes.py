"""Geometry of a picture with a box: MDETR's sizes and crops."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image

from ...registry import TRANSFORMS
from ..media import MediaError


def fit_size(height: int, width: int, short: int, longest: int | None) -> tuple[int, int]:
    """Height and width of a picture whose short side becomes ``short``.

    The long side is at most ``longest``, but for rounding: ``short`` is lowered for that. Sides are
    rounded as in DETR, so that pictures get the sizes that they have there.

    Args:
        height: Of the picture, in pixels.
        width: The same.
        short: Short side wanted, in pixels.
        longest: Limit of the long side; None for none.
    """
    low, high = float(min(height, width)), float(max(height, width))
    if longest is not None and high / low * short > longest:
        short = round(longest * low / high)
    if width < height:
        return int(short * height / width), short
    return short, int(short * width / height)


def _resize(results: dict, short: int, longest: int | None) -> None:
    """Resize the picture, bilinearly with antialiasing, and its box."""
    height, width = results["frames"].shape[1:3]
    new = fit_size(height, width, short, longest)
    if new != (height, width):
        picture = Image.fromarray(results["frames"][0])
        picture = picture.resize(new[::-1], Image.Resampling.BILINEAR)
        results["frames"] = np.asarray(picture)[None]
    across, down = new[1] / width, new[0] / height
    left, top, right, bottom = results["box"]
    results["box"] = [left * across, top * down, right * across, bottom * down]


def _sizes(owner: str, sizes: Sequence[int], longest: int | None) -> list[int]:
    found = list(sizes) if isinstance(sizes, Sequence) else []
    if not found or any(not isinstance(size, int) or size < 1 for size in found):
        raise ValueError(f"{owner}: sizes must be short sides in pixels, got {sizes!r}.")
    if longest is not None and (not isinstance(longest, int) or longest < max(found)):
        raise ValueError(f"{owner}: longest={longest!r} must be at least the sizes, {found}.")
    return found


@TRANSFORMS.register_module()
class CheckPicture(BaseTransform):
    """Note the size of a picture as it was read, and see that it is the one that was annotated.

    Required keys: ``frames`` of one picture, ``box`` and, where the annotations have it,
    ``said_shape``. Added key: ``ori_shape`` (height, width). Changed key: ``box``, which is cut at
    the picture.

    Raises:
        MediaError: In use, when the picture has another size than the annotations say, or the box
            lies outside of it.
    """

    def transform(self, results: dict) -> dict:
        """Compare sizes."""
        height, width = results["frames"].shape[1:3]
        said = results.get("said_shape")
        if said is not None and list(said) != [height, width]:
            raise MediaError(
                results["media_path"],
                f"is {width} x {height} pixels, and the annotations say {said[1]} x {said[0]}, so "
                "that its box would lie elsewhere",
            )
        left, top, right, bottom = results["box"]
        box = [max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height))]
        if box[2] <= box[0] or box[3] <= box[1]:
            raise MediaError(
                results["media_path"], f"its box {results['box']} lies outside of the picture"
            )
        results["box"] = box
        results["ori_shape"] = (height, width)
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


@TRANSFORMS.register_module()
class BoxResize(BaseTransform):
    """Resize a picture and its box to a short side drawn from some, the aspect ratio kept.

    Required and changed keys: ``frames``, (1, H, W, 3) uint8, and ``box``, corners in pixels.

    Args:
        sizes: Short sides in pixels; one of them is drawn.
        longest: Limit of the long side in pixels, see :func:`fit_size`. Defaults to 1333.

    Raises:
        ValueError: For a size that is none.
    """

    def __init__(self, sizes: Sequence[int], longest: int | None = 1333) -> None:
        self.sizes, self.longest = _sizes("BoxResize", sizes, longest), longest

    def transform(self, results: dict) -> dict:
        """Draw a size and resize."""
        _resize(results, random.choice(self.sizes), self.longest)
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(sizes={self.sizes}, longest={self.longest})"


@TRANSFORMS.register_module()
class BoxCrop(BaseTransform):
    """With a probability, resize a picture and cut a rectangle out of it that keeps the box.

    A rectangle that holds none of the box is drawn anew, at most 100 times, after which the picture
    stays whole. What lies outside is cut off the box. There is no flip: expressions speak of left
    and right.

    Required and changed keys: ``frames``, (1, H, W, 3) uint8, and ``box``, corners in pixels.

    Args:
        sizes: Short sides of the picture before it is cut, one of which is drawn. Defaults to
            (400, 500, 600).
        least: Least side of the rectangle in pixels. Defaults to 384.
        most: Limit of its sides. Defaults to 1333.
        prob: Probability. Defaults to 0.5.

    Raises:
        ValueError: For a number outside its range.
    """

    def __init__(
        self,
        sizes: Sequence[int] = (400, 500, 600),
        least: int = 384,
        most: int = 1333,
        prob: float = 0.5,
    ) -> None:
        self.sizes = _sizes("BoxCrop", sizes, None)
        if not 1 <= least <= min(self.sizes) or most < least:
            raise ValueError(
                f"BoxCrop: least={least} must be at least 1, and at most most={most} and the "
                f"smallest of sizes={self.sizes}."
            )
        if not 0 <= prob <= 1:
            raise ValueError(f"BoxCrop: prob must be in [0, 1], got {prob}.")
        self.least, self.most, self.prob = least, most, prob

    def transform(self, results: dict) -> dict:
        """Cut, or leave the picture."""
        if random.random() >= self.prob:
            return results
        _resize(results, random.choice(self.sizes), None)
        height, width = results["frames"].shape[1:3]
        for _ in range(100):
            across = random.randint(self.least, min(width, self.most))
            down = random.randint(self.least, min(height, self.most))
            left, top = random.randint(0, width - across), random.randint(0, height - down)
            box = _cut(results["box"], left, top, across, down)
            if box is not None:
                frames = results["frames"][:, top : top + down, left : left + across]
                results["frames"], results["box"] = np.ascontiguousarray(frames), box
                break
        return results

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(sizes={self.sizes}, least={self.least}, most={self.most}, "
            f"prob={self.prob})"
        )


def _cut(box: Sequence[float], left: int, top: int, across: int, down: int) -> list[float] | None:
    """What a rectangle keeps of a box, in its own pixels; None where that is nothing."""
    x0, x1 = (min(max(x - left, 0.0), float(across)) for x in (box[0], box[2]))
    y0, y1 = (min(max(y - top, 0.0), float(down)) for y in (box[1], box[3]))
    return [x0, y0, x1, y1] if x1 > x0 and y1 > y0 else None
