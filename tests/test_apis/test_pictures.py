"""Entries of predictions: what stands there, and what counts as right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from uniadapter.apis.pictures import frames_of, prediction_report, spread


@pytest.fixture
def picture(tmp_path: Path) -> str:
    Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(tmp_path / "a.png")
    return str(tmp_path / "a.png")


BOX = {"gt_box": [2, 2, 18, 12], "ori_shape": [20, 30], "text": "a man", "pred_scores": [0.5]}


@pytest.mark.parametrize(
    ("row", "right", "said"),
    [
        ({"pred_answer": "Red", "gt_answers": ["red", "red", "blue"]}, True, "also given: blue"),
        ({"pred_answer": "green", "gt_answers": ["red"]}, False, "Answer: green"),
        ({"pred_answer": "green"}, None, "Target: not in this split"),
        ({"pred_caption": "a dot", "gt_captions": ["A dot.", "One dot"]}, None, "By people: One"),
        ({**BOX, "pred_boxes": [[2, 2, 18, 12]], "tokens_positive": [[2, 5]]}, True, "by: man"),
        ({**BOX, "pred_boxes": [[20, 2, 28, 12]]}, False, "GIoU"),
        ({"pred_text": "yes", "target": "yes", "text": "vqa: is it?"}, True, "vqa: is it?: yes"),
        ({"pred_label": 2, "gt_label": 2, "pred_score": [0.1, 0.1, 0.8]}, True, "Score: 0.80"),
        ({"pred_label": 2, "gt_label": 1}, False, "Target: 1"),
    ],
)
def test_a_prediction_with_its_picture(
    picture: str, row: dict[str, Any], right: bool | None, said: str
):
    key = "img_path" if "pred_label" in row else "media_path"
    report = prediction_report([{**row, key: picture}], "a test", 4)
    (entry,) = report.entries
    assert [panel.right for panel in entry.panels] == [right]
    assert said in report.html()
    # Without its picture an entry still says what was predicted.
    report = prediction_report([{**row, key: picture + "gone"}], "a test", 4)
    assert said in report.html()


def test_an_image_is_shown_once(picture: str):
    assert frames_of(picture, 6).shape == (1, 20, 30, 3)


def test_what_is_drawn_is_spread():
    assert spread(10, 3) == [0, 4, 9]
    assert spread(2, 5) == [0, 1]
    assert spread(0, 5) == []


def test_what_can_not_be_drawn_is_named():
    assert prediction_report([{"skipped": True, "video_id": "v"}], "x", 1).entries[0].title == "v"
    with pytest.raises(ValueError, match=r"nothing that can be drawn.*pred_answer.*\['id'\]"):
        prediction_report([{"id": 1}], "x", 1)
