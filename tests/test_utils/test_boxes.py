"""Boxes against arithmetic on single numbers, and against torchvision."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import generalized_box_iou

from tests.helpers import draws
from tests.mdetr_reference import generalized_iou as by_hand
from uniadapter.utils.boxes import area, generalized_iou, to_centers, to_corners

SIDES = st.floats(0.01, 2)
PLACES = st.floats(-1, 2)
BOXES = st.tuples(PLACES, PLACES, SIDES, SIDES)


@settings(max_examples=draws(40))
@given(one=BOXES, other=BOXES)
def test_giou_is_that_of_the_definition(one, other):
    a, b = torch.tensor(one, dtype=torch.float64), torch.tensor(other, dtype=torch.float64)
    found = generalized_iou(to_corners(a), to_corners(b)).item()
    assert found == pytest.approx(by_hand(a, b), abs=1e-9)
    assert found == pytest.approx(generalized_iou(to_corners(b), to_corners(a)).item(), abs=1e-12)
    theirs = generalized_box_iou(to_corners(a)[None], to_corners(b)[None]).item()
    assert found == pytest.approx(theirs, abs=1e-9)
    assert -1 <= found <= 1 + 1e-12


@settings(max_examples=draws(10))
@given(boxes=st.lists(BOXES, min_size=1, max_size=5))
def test_corners_and_centers_are_inverse(boxes):
    given_boxes = torch.tensor(boxes, dtype=torch.float64)
    torch.testing.assert_close(to_centers(to_corners(given_boxes)), given_boxes)


def test_a_box_with_itself_and_one_far_away():
    box = torch.tensor([0.0, 0.0, 2.0, 1.0])
    assert generalized_iou(box, box) == 1
    assert generalized_iou(box, box + 100) < -0.95
    assert area(torch.tensor([1.0, 1.0, 0.0, 3.0])) == 0
    # One beside the other: no overlap, and the hull is full.
    assert generalized_iou(box, torch.tensor([2.0, 0.0, 4.0, 1.0])) == 0
