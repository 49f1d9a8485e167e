from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from uniadapter.visualization.strips import GAP, color_bar, colors_of, heated, sized, strip


def test_a_frame_keeps_its_proportions():
    assert sized(np.zeros((20, 40, 3), np.uint8), 30).size == (60, 30)
    assert sized(np.zeros((400, 1, 3), np.uint8), 30).size == (1, 30)


def test_heat_lies_where_its_patch_is():
    heat = np.zeros((2, 3))
    heat[1, 2] = 1
    picture = np.asarray(heated(np.zeros((60, 90, 3), np.uint8), heat, 60, strength=1))
    most, least = colors_of(np.array(1.0)), colors_of(np.array(0.0))
    assert (picture[30:, 60:] == most).all()
    assert (picture[:30] == least).all()
    assert (picture[30:, :60] == least).all()


def test_colors_stay_in_their_range():
    colors = colors_of(np.array([-1.0, 0, 0.3, 1, 2, np.nan]))
    assert (colors[0] == colors[1]).all()
    assert (colors[3] == colors[4]).all()
    assert (colors[5] == colors[0]).all()


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (4, 1), (5, 2), (9, 3)])
def test_frames_that_do_not_fit_begin_a_new_row(count: int, rows: int):
    pictures = [Image.new("RGB", (20, 10), "red")] * count
    sheet = strip(pictures, limit=4 * 20 + 3 * GAP)
    assert sheet.height == rows * (10 + GAP) - GAP
    assert sheet.width == min(count, 4) * (20 + GAP) - GAP
    red = (np.asarray(sheet) == [255, 0, 0]).all(-1)
    assert red.sum() == count * 200


def test_bars_are_as_long_as_the_weights():
    pictures = [Image.new("RGB", (40, 10), "white")] * 3
    sheet = np.asarray(strip(pictures, [0.5, 1.0, 2.0]))
    row = (sheet[15] != 255).any(-1)
    lengths = [int(row[i * (40 + GAP) :][:40].sum()) for i in range(3)]
    assert lengths == [10, 20, 40]


@pytest.mark.parametrize("weights", [[0.0, 0.0], [float("nan"), 1.0], [-1.0, 1.0]])
def test_odd_weights_are_drawn(weights: list[float]):
    strip([Image.new("RGB", (8, 8))] * 2, weights)


def test_bad_strips_are_refused():
    with pytest.raises(ValueError, match="at least one frame"):
        strip([])
    with pytest.raises(ValueError, match="1 frames have 2 weights"):
        strip([Image.new("RGB", (8, 8))], [1, 2])


def test_the_bar_shows_all_colors():
    sheet = np.asarray(color_bar("0", "0.5 of it")).reshape(-1, 3)
    for value in (0.0, 0.5, 1.0):
        assert (abs(sheet - colors_of(np.array(value)).astype(int)) <= 2).all(-1).any()
