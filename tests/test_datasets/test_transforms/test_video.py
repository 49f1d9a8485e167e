from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as vision

from uniadapter.datasets.transforms import (
    VideoFlip,
    VideoRandomResizedCrop,
    VideoRatioCrop,
    VideoResize,
)


def noise(frames: int = 3, height: int = 30, width: int = 40) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("height", "width"), [(30, 40), (41, 23), (16, 16), (1, 50)])
def test_resize_equals_the_interpolation_of_blip(height: int, width: int) -> None:
    frames = noise(2, height, width)
    resized = VideoResize(16).transform({"frames": frames})["frames"]
    for frame, expected in zip(resized, frames, strict=True):
        reference = vision.resize(
            Image.fromarray(expected), [16, 16], interpolation=InterpolationMode.BICUBIC
        )
        assert np.array_equal(frame, np.asarray(reference))


def test_resize_to_a_rectangle() -> None:
    assert VideoResize((8, 20)).transform({"frames": noise()})["frames"].shape == (3, 8, 20, 3)


@pytest.mark.parametrize("size", [0, -1, (8,), (8, 0), 8.5, (8, 8, 8)])
def test_bad_size(size: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        VideoResize(size)  # type: ignore[arg-type]


def test_one_crop_for_all_frames() -> None:
    random.seed(0)
    frames = np.repeat(noise(1), 4, axis=0)
    cropped = VideoRandomResizedCrop(16).transform({"frames": frames})["frames"]
    assert cropped.shape == (4, 16, 16, 3)
    assert (cropped == cropped[:1]).all()


def test_crop_equals_crop_and_resize_of_each_frame() -> None:
    crop = VideoRandomResizedCrop(16)
    frames = noise()
    random.seed(3)
    top, left, height, width = crop.draw_box(30, 40)
    random.seed(3)
    result = crop.transform({"frames": frames})["frames"]
    for frame, source in zip(result, frames, strict=True):
        expected = vision.resized_crop(
            Image.fromarray(source), top, left, height, width, [16, 16], InterpolationMode.BICUBIC
        )
        assert np.array_equal(frame, np.asarray(expected))


@settings(deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 1000))
def test_box_is_inside_the_frame(height: int, width: int, seed: int) -> None:
    random.seed(seed)
    top, left, box_height, box_width = VideoRandomResizedCrop(8).draw_box(height, width)
    assert top >= 0
    assert left >= 0
    assert box_height >= 1
    assert box_width >= 1
    assert top + box_height <= height
    assert left + box_width <= width


def test_box_keeps_to_scale_and_ratio() -> None:
    random.seed(0)
    crop = VideoRandomResizedCrop(8, scale=(0.5, 0.9))
    for _ in range(100):
        _, _, height, width = crop.draw_box(300, 300)
        assert 0.49 <= height * width / 90000 <= 0.91
        assert 0.74 <= width / height <= 1.35


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": (0.9, 0.5)}, "scale must be a pair"),
        ({"scale": (0, 1)}, "scale must be a pair"),
        ({"scale": (0.5, 1.5)}, "at most 1"),
        ({"ratio": (2, 1)}, "ratio must be a pair"),
        ({"ratio": (1,)}, "ratio must be a pair"),
        ({"size": 0}, "VideoRandomResizedCrop: size must be"),
    ],
)
def test_bad_crop(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VideoRandomResizedCrop(**{"size": 8, **options})


def test_flip() -> None:
    frames = noise()
    assert np.array_equal(VideoFlip(1).transform({"frames": frames})["frames"], frames[:, :, ::-1])
    assert np.array_equal(VideoFlip(0).transform({"frames": frames})["frames"], frames)
    random.seed(0)
    flips = [VideoFlip(0.25).transform({"frames": frames})["frames"] is frames for _ in range(400)]
    assert 0.65 < np.mean(flips) < 0.85


@pytest.mark.parametrize("prob", [-0.1, 1.1])
def test_bad_flip(prob: float) -> None:
    with pytest.raises(ValueError, match=r"prob must be in \[0, 1\]"):
        VideoFlip(prob)


def test_a_crop_of_the_frame_s_own_ratio() -> None:
    """One share for both sides, uniform; the same rectangle of all frames, at every place."""
    transform = VideoRatioCrop((0.6, 1.0))
    rows, columns = np.mgrid[:50, :100]
    frames = np.stack([rows, columns, rows], -1)[None].repeat(2, 0).astype(np.uint8)
    shares, tops, lefts = [], set(), set()
    for _ in range(300):
        crop = transform.transform({"frames": frames})["frames"]
        height, width = crop.shape[1:3]
        assert np.array_equal(crop[0], crop[1])
        top, left = crop[0, 0, 0, :2]
        assert np.array_equal(crop, frames[:, top : top + height, left : left + width])
        assert 0 <= width - 2 * height <= 1
        shares.append(width / 100)
        tops.add((int(top), 50 - height - int(top)))
        lefts.add((int(left), 100 - width - int(left)))
    assert 0.6 <= min(shares) < 0.62
    assert 0.97 < max(shares) <= 1
    assert abs(np.mean(shares) - 0.8) < 0.04
    # Every edge is reached.
    assert {0} <= {a for a, _ in tops} & {b for _, b in tops}
    assert {0} <= {a for a, _ in lefts} & {b for _, b in lefts}
    tiny = VideoRatioCrop((0.6, 0.6)).transform({"frames": frames[:, :1, :1]})["frames"]
    assert tiny.shape == (2, 1, 1, 3)


def test_bilinear_between_the_four_nearest_pixels() -> None:
    """Number by number, whatever the sizes: no antialiasing, centres of pixels meet."""
    frames = noise()
    height, width = 5, 23
    found = VideoResize((height, width), interpolation="bilinear").transform({"frames": frames})
    for y in range(height):
        for x in range(width):
            value = np.zeros((len(frames), 3))
            at = (
                (y + 0.5) * frames.shape[1] / height - 0.5,
                (x + 0.5) * frames.shape[2] / width - 0.5,
            )
            low = [int(np.floor(place)) for place in at]
            for i in (0, 1):
                for j in (0, 1):
                    share = (1 - abs(at[0] - low[0] - i)) * (1 - abs(at[1] - low[1] - j))
                    row = min(max(low[0] + i, 0), frames.shape[1] - 1)
                    column = min(max(low[1] + j, 0), frames.shape[2] - 1)
                    value += share * frames[:, row, column]
            assert np.abs(found["frames"][:, y, x] - value).max() <= 1
    with pytest.raises(ValueError, match="VideoResize: interpolation='cubic' is unknown"):
        VideoResize(4, interpolation="cubic")
    with pytest.raises(ValueError, match="ratio is a share, at most 1"):
        VideoRatioCrop((0.5, 1.2))
