"""Random changes of colour and geometry as in BLIP's training, alike for all frames of a sample."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image, ImageEnhance, ImageOps

from ...registry import TRANSFORMS

#: Magnitudes are given on a scale from 0 to this.
MAX_MAGNITUDE = 10
_GREY = (128, 128, 128)
Frames = np.ndarray


def _autocontrast(frames: Frames, magnitude: float) -> Frames:
    return _pointwise(frames, ImageOps.autocontrast)


def _equalize(frames: Frames, magnitude: float) -> Frames:
    return _pointwise(frames, ImageOps.equalize)


def _brightness(frames: Frames, magnitude: float) -> Frames:
    factor = _enhancement(magnitude)
    return _pointwise(frames, lambda image: ImageEnhance.Brightness(image).enhance(factor))


def _sharpness(frames: Frames, magnitude: float) -> Frames:
    factor = _enhancement(magnitude)
    return _each(frames, lambda image: ImageEnhance.Sharpness(image).enhance(factor))


def _shear_x(frames: Frames, magnitude: float) -> Frames:
    return _affine(frames, (1, _signed(0.3 * magnitude), 0, 0, 1, 0))


def _shear_y(frames: Frames, magnitude: float) -> Frames:
    return _affine(frames, (1, 0, 0, _signed(0.3 * magnitude), 1, 0))


def _translate_x(frames: Frames, magnitude: float) -> Frames:
    return _affine(frames, (1, 0, _signed(10 * magnitude), 0, 1, 0))


def _translate_y(frames: Frames, magnitude: float) -> Frames:
    return _affine(frames, (1, 0, 0, 0, 1, _signed(10 * magnitude)))


def _rotate(frames: Frames, magnitude: float) -> Frames:
    angle = _signed(30 * magnitude)
    bilinear = Image.Resampling.BILINEAR
    return _each(frames, lambda image: image.rotate(angle, bilinear, fillcolor=_GREY))


#: Operations by name; each takes frames (N, H, W, 3) uint8 and a magnitude in [0, 1].
OPERATIONS: dict[str, Callable[[Frames, float], Frames]] = {
    "Identity": lambda frames, magnitude: frames,
    "AutoContrast": _autocontrast,
    "Brightness": _brightness,
    "Sharpness": _sharpness,
    "Equalize": _equalize,
    "ShearX": _shear_x,
    "ShearY": _shear_y,
    "TranslateX": _translate_x,
    "TranslateY": _translate_y,
    "Rotate": _rotate,
}


def _enhancement(magnitude: float) -> float:
    """Factor of an enhancement: 1, which changes nothing, at the middle of the scale."""
    return 0.1 + 1.8 * magnitude


def _signed(value: float) -> float:
    return value if random.random() < 0.5 else -value


def _each(frames: Frames, change: Callable[[Image.Image], Image.Image]) -> Frames:
    return np.stack([np.asarray(change(Image.fromarray(frame))) for frame in frames])


def _pointwise(frames: Frames, change: Callable[[Image.Image], Image.Image]) -> Frames:
    """Change all frames as one picture, so that one mapping of values holds for all of them."""
    shape = frames.shape
    stacked = np.ascontiguousarray(frames).reshape(-1, *shape[2:])
    return np.asarray(change(Image.fromarray(stacked))).reshape(shape)


def _affine(frames: Frames, matrix: tuple[float, ...]) -> Frames:
    affine, bilinear = Image.Transform.AFFINE, Image.Resampling.BILINEAR
    return _each(
        frames,
        lambda image: image.transform(image.size, affine, matrix, bilinear, fillcolor=_GREY),
    )


@TRANSFORMS.register_module()
class VideoRandAugment(BaseTransform):
    """A few random operations, drawn once a sample and applied alike to all its frames.

    ``num_ops`` operations are drawn with repeats; each is applied with probability ``prob``. What
    an operation computes from the values themselves (``AutoContrast``, ``Equalize``) is computed
    over all frames together, so a video doesn't flicker. Corners that become empty are grey.

    With BLIP's magnitude of 5 ``Brightness`` and ``Sharpness`` change nothing, shears are 0.15,
    translations 5 pixels and rotations 15 degrees, in either direction.

    Required and changed key: ``frames``, (N, H, W, 3) uint8.

    Args:
        num_ops: Operations a sample.
        magnitude: Strength, from 0 to 10.
        prob: Probability that a drawn operation is applied.
        ops: Names of the operations to draw from; see :data:`OPERATIONS`.

    Raises:
        ValueError: For an unknown operation or a number outside its range.
    """

    def __init__(
        self,
        num_ops: int = 2,
        magnitude: float = 5,
        prob: float = 0.5,
        ops: Sequence[str] = tuple(OPERATIONS),
    ) -> None:
        owner = type(self).__name__
        unknown = [op for op in ops if op not in OPERATIONS]
        if unknown or not ops:
            raise ValueError(f"{owner}: ops must be some of {list(OPERATIONS)}, got {list(ops)}.")
        if num_ops < 0:
            raise ValueError(f"{owner}: num_ops must be at least 0, got {num_ops}.")
        if not 0 <= magnitude <= MAX_MAGNITUDE:
            raise ValueError(f"{owner}: magnitude must be in [0, {MAX_MAGNITUDE}]: {magnitude}.")
        if not 0 <= prob <= 1:
            raise ValueError(f"{owner}: prob must be in [0, 1], got {prob}.")
        self.num_ops = num_ops
        self.magnitude = magnitude
        self.prob = prob
        self.ops = tuple(ops)

    def transform(self, results: dict) -> dict:
        """Draw operations and apply them to ``frames``."""
        for name in random.choices(self.ops, k=self.num_ops):
            if random.random() < self.prob:
                magnitude = self.magnitude / MAX_MAGNITUDE
                results["frames"] = OPERATIONS[name](results["frames"], magnitude)
        return results

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(num_ops={self.num_ops}, magnitude={self.magnitude}, "
            f"prob={self.prob}, ops={self.ops})"
        )
