"""Precision@k by GIoU, against a count by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import generalized_box_iou

from tests.helpers import draws
from uniadapter.evaluation import GroundingMetric


def sample(number: int, boxes: list, scores: list, truth: list, split: str = "val") -> dict:
    return {
        "image_id": number,
        "split": split,
        "gt_box": truth,
        "pred_boxes": boxes,
        "pred_scores": scores,
    }


def measure(samples: list[dict[str, Any]], **options: Any) -> dict[str, float]:
    metric = GroundingMetric(**options)
    for one in samples:
        metric.process(None, [one])
    return metric.evaluate(len(samples))


@settings(max_examples=draws(15), deadline=None)
@given(seed=st.integers(0, 2**20), count=st.integers(1, 6), queries=st.integers(1, 12))
def test_it_counts_what_the_authors_count(seed, count, queries):
    generator = torch.Generator().manual_seed(seed)
    samples, hits = [], {1: 0, 5: 0, 10: 0}
    for number in range(count):
        corners = torch.rand(queries + 1, 2, 2, generator=generator).sort(1).values.flatten(1)
        boxes = (corners * 100 + torch.tensor([0, 0, 1.0, 1.0])).tolist()
        truth = boxes.pop()
        # Equal scores: the greater coordinates come first.
        scores = (torch.rand(queries, generator=generator) * 3).round().tolist()
        samples.append(sample(number, boxes, scores, truth))
        ranked = sorted(zip(scores, boxes, strict=True), reverse=True)
        ranked_boxes = torch.tensor([box for _, box in ranked])
        overlap = generalized_box_iou(ranked_boxes, torch.tensor(truth).view(1, 4))
        for k in hits:
            hits[k] += bool(max(overlap[:k]) >= 0.5)
    found = measure(samples)
    assert found == {f"P@{k}": pytest.approx(100 * n / count) for k, n in hits.items()}


def test_giou_is_stricter_than_iou():
    # Two halves of a box on a diagonal: IoU 0.5, and a hull with more than both.
    truth, box = [0.0, 0.0, 10.0, 10.0], [0.0, 2.0, 9.0, 13.0]
    iou = 72 / (100 + 99 - 72)
    assert iou >= 0.5
    giou = iou - (130 - 127) / 130
    assert measure([sample(1, [box], [1.0], truth)], threshold=giou - 1e-4)["P@1"] == 100
    assert measure([sample(1, [box], [1.0], truth)], threshold=giou + 1e-4)["P@1"] == 0


def test_splits_and_results(tmp_path):
    truth = [0.0, 0.0, 10.0, 10.0]
    far = [50.0, 50.0, 60.0, 60.0]
    samples = [
        sample(0, [truth, far], [0.2, 0.1], truth, "testA"),
        sample(0, [truth, far], [0.1, 0.2], truth, "testB"),
        {"image_id": 1, "split": "testB", "gt_box": truth, "skipped": True},
    ]
    path = tmp_path / "boxes.json"
    found = measure(samples, topk=[1, 2], result_file=str(path), prefix="refcoco")
    assert found == {
        "refcoco/testA/P@1": 100.0,
        "refcoco/testA/P@2": 100.0,
        "refcoco/testB/P@1": 0.0,
        "refcoco/testB/P@2": 50.0,
    }
    rows = json.loads(path.read_text())
    assert len(rows) == 4
    assert rows[0] == {
        "image_id": 0,
        "category_id": 1,
        "bbox": [0.0, 0.0, 10.0, 10.0],
        "score": 0.2,
        "split": "testA",
    }
    assert rows[2]["bbox"] == [50.0, 50.0, 10.0, 10.0]


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match="pred_boxes"):
        GroundingMetric().process(None, [{"image_id": 1, "gt_box": [0, 0, 1, 1]}])
    with pytest.raises(ValueError, match="image_id"):
        GroundingMetric().process(None, [{}])
    for options in ({"topk": []}, {"topk": [0]}, {"threshold": 2}):
        with pytest.raises(ValueError, match=next(iter(options))):
            GroundingMetric(**options)
