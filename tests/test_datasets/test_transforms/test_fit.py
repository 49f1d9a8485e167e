"""Pictures on a lying or standing canvas, and the sizes in their heads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.helpers import draws
from uniadapter.datasets.transforms import FitAndPad
from uniadapter.datasets.transforms.pictures import picture_size, read_image


@settings(max_examples=draws(25))
@given(height=st.integers(1, 90), width=st.integers(1, 90), enlarge=st.booleans(), data=st.data())
def test_a_picture_fits_and_is_centred(height: int, width: int, enlarge: bool, data) -> None:
    short = data.draw(st.integers(1, 48))
    long = data.draw(st.integers(short, 64))
    step = FitAndPad(long, short, enlarge)
    frames = np.full((2, height, width, 3), 200, np.uint8)
    out = step.transform({"frames": frames})["frames"]
    canvas = (short, long) if width >= height else (long, short)
    assert out.shape == (2, *canvas, 3)
    rows, columns = (np.flatnonzero(out[0, ..., 0].max(axis)) for axis in (1, 0))
    size = (len(rows), len(columns))
    scale = min(canvas[0] / height, canvas[1] / width)
    scale = scale if enlarge else min(1.0, scale)
    for got, side, start, whole in (
        (size[0], height, rows[0], canvas[0]),
        (size[1], width, columns[0], canvas[1]),
    ):
        assert got == min(whole, max(1, round(side * scale)))
        assert start == (whole - got) // 2
    # Black around, and nothing but the picture inside.
    assert int((out[0, ..., 0] == 200).sum()) == size[0] * size[1]
    assert set(np.unique(out)) <= {0, 200}


def test_published_canvas() -> None:
    step = FitAndPad()
    frames = np.zeros((1, 480, 640, 3), np.uint8)
    assert step.fitted(480, 640) == (384, 512)
    assert step.transform({"frames": frames})["frames"].shape == (1, 384, 640, 3)
    assert step.fitted(640, 480) == (512, 384)
    assert step.fitted(300, 1000) == (192, 640)
    assert step.fitted(500, 500) == (384, 384)
    assert repr(step) == "FitAndPad(long_side=640, short_side=384, enlarge=True)"


@pytest.mark.parametrize(("long", "short"), [(10, 20), (0, 0), (10, 2.5), ("a", 3)])
def test_sides_that_are_none(long, short) -> None:
    with pytest.raises(ValueError, match="long_side and short_side must be positive"):
        FitAndPad(long, short)


@pytest.mark.parametrize("orientation", [None, 1, 3, 6, 8])
def test_sizes_from_heads_are_those_of_the_pictures(tmp_path: Path, orientation) -> None:
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(path, exif=exif)
    assert picture_size(str(path)) == read_image(str(path)).shape[:2]


def test_sizes_of_what_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no")
    assert picture_size(str(tmp_path / "a.jpg")) is None
    assert picture_size(str(tmp_path / "gone.jpg")) is None
