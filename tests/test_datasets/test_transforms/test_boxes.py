"""MDETR's sizes and crops: pictures and boxes move together."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from uniadapter.datasets.transforms import BoxCrop, BoxResize
from uniadapter.datasets.transforms.boxes import fit_size

SIDES = st.integers(30, 90)


def marked(height: int, width: int, box: list[int]) -> dict[str, Any]:
    """A black picture with a white box."""
    frames = np.zeros((1, height, width, 3), np.uint8)
    left, top, right, bottom = box
    frames[:, top:bottom, left:right] = 255
    return {"frames": frames, "box": [float(side) for side in box]}


def extent(frames: np.ndarray) -> list[int]:
    """Where a picture is bright."""
    rows, columns = (np.flatnonzero((frames[0, ..., 0] > 127).any(axis)) for axis in (1, 0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


@settings(max_examples=draws(30))
@given(
    height=st.integers(20, 900),
    width=st.integers(20, 900),
    short=st.integers(20, 800),
    longest=st.integers(800, 1333),
)
def test_sizes_are_detrs(height, width, short, longest):
    found = fit_size(height, width, short, longest)
    assert max(found) <= longest + max(height, width) / min(height, width)
    # The sides as the authors' code has them.
    size = short
    if max(height, width) / min(height, width) * size > longest:
        size = round(longest * min(height, width) / max(height, width))
    if width < height:
        assert found == (int(size * height / width), size)
    else:
        assert found == (size, int(size * width / height))
    assert fit_size(found[0], found[1], min(found), longest) == found


def test_known_sizes():
    assert fit_size(480, 640, 800, 1333) == (800, 1066)
    assert fit_size(640, 480, 800, 1333) == (1066, 800)
    # The short side is rounded first, as in DETR: the long one may be a pixel longer.
    assert fit_size(200, 640, 800, 1333) == (417, 1334)
    assert fit_size(500, 500, 480, 1333) == (480, 480)


@settings(max_examples=draws(15), deadline=None)
@given(height=SIDES, width=SIDES, size=st.integers(40, 120), seed=st.integers(0, 999))
def test_a_resized_box_lies_where_its_thing_lies(height, width, size, seed):
    rng = random.Random(seed)
    left, top = rng.randrange(0, width - 12), rng.randrange(0, height - 12)
    box = [left, top, rng.randrange(left + 10, width), rng.randrange(top + 10, height)]
    results = BoxResize([size], None).transform(marked(height, width, box))
    new = results["frames"].shape[1:3]
    assert min(new) == size
    np.testing.assert_allclose(results["box"], extent(results["frames"]), atol=2.1)


@settings(max_examples=draws(25), deadline=None)
@given(height=SIDES, width=SIDES, seed=st.integers(0, 9999))
def test_a_crop_keeps_some_of_the_box(height, width, seed):
    rng = random.Random(seed)
    left, top = rng.randrange(0, width - 9), rng.randrange(0, height - 9)
    box = [left, top, rng.randrange(left + 6, width), rng.randrange(top + 6, height)]
    random.seed(seed)
    crop = BoxCrop(sizes=[60, 75], least=40, most=70, prob=1.0)
    results = crop.transform(marked(height, width, box))
    rows, columns = results["frames"].shape[1:3]
    x0, y0, x1, y1 = results["box"]
    assert 0 <= x0 < x1 <= columns
    assert 0 <= y0 < y1 <= rows
    if (results["frames"] > 127).any():
        np.testing.assert_allclose(results["box"], extent(results["frames"]), atol=2.6)


def test_a_crop_is_at_least_as_large_as_asked_for_and_drawn():
    random.seed(0)
    crop = BoxCrop(sizes=[50], least=30, most=45, prob=1.0)
    shapes = set()
    for _ in range(60):
        shape = crop.transform(marked(50, 80, [30, 20, 60, 40]))["frames"].shape[1:3]
        assert all(30 <= side <= 45 for side in shape)
        shapes.add(shape)
    assert len(shapes) > 20


def test_probability_and_ties():
    whole = BoxCrop(sizes=[50], least=30, prob=0.0).transform(marked(50, 80, [30, 20, 60, 40]))
    assert whole["frames"].shape == (1, 50, 80, 3)
    assert whole["box"] == [30.0, 20.0, 60.0, 40.0]


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        (BoxResize, {"sizes": []}, "sizes"),
        (BoxResize, {"sizes": [0]}, "sizes"),
        (BoxResize, {"sizes": [800], "longest": 700}, "longest"),
        (BoxCrop, {"sizes": [300]}, "least"),
        (BoxCrop, {"most": 300}, "most"),
        (BoxCrop, {"prob": 1.5}, "prob"),
    ],
)
def test_wrong_options(kind, options, said):
    with pytest.raises(ValueError, match=said):
        kind(**options)
