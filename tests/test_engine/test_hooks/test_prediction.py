"""Rows of what was tested: plain, in the order of the data set, each item once."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.dataset import DefaultSampler
from mmengine.structures import BaseDataElement

from uniadapter.engine.hooks import PredictionHook
from uniadapter.engine.hooks.prediction import in_order, plain_row
from uniadapter.structures import MultimodalSample


@given(
    size=st.integers(1, 30),
    world=st.integers(1, 5),
    round_up=st.booleans(),
    alike=st.booleans(),
)
def test_items_come_in_the_order_of_the_data_set(
    size: int, world: int, round_up: bool, alike: bool
):
    rows = [{"id": 0 if alike else index} for index in range(size)]
    parts = []
    for rank in range(world):
        sampler = DefaultSampler(rows, shuffle=False, round_up=round_up)
        # The sampler asks for its rank when it is built.
        sampler.rank, sampler.world_size = rank, world
        sampler.num_samples = -(-size // world) if round_up else -(-(size - rank) // world)
        sampler.total_size = sampler.num_samples * world if round_up else size
        parts.append([rows[index] for index in sampler])
    assert in_order(parts, size) == rows


def test_what_is_not_there_is_missed():
    with pytest.raises(ValueError, match="predictions of 2 items, and the data set has 3"):
        in_order([[{"id": 0}], [{"id": 1}]], 3)
    with pytest.raises(ValueError, match="predictions of 3 items, and the data set has 2"):
        in_order([[{"id": 0}, {"id": 2}], [{"id": 1}]], 2)


def test_values_are_plain():
    sample = MultimodalSample(metainfo={"media_path": Path("a/b.mp4"), "ori_shape": (3, 4)})
    sample.set_field([[0.5, float("nan")]], "pred_boxes")
    sample.set_field("red", "pred_answer")
    assert plain_row(sample) == {
        **{"media_path": "a/b.mp4", "ori_shape": [3, 4]},
        **{"pred_boxes": [[0.5, None]], "pred_answer": "red"},
    }
    element = BaseDataElement(metainfo={"img_path": "a.jpg", "num": np.int64(3)})
    element.pred_label, element.pred_score = torch.tensor([2]), torch.tensor([0.25, 0.5])
    element.inner, element.odd = BaseDataElement(), [object()]
    element.gt_label = torch.tensor([0, 1])
    assert plain_row(element) == {
        **{"img_path": "a.jpg", "num": 3, "pred_label": 2, "pred_score": [0.25, 0.5]},
        "gt_label": [0, 1],
    }


def test_a_hook_writes_a_row_a_line(tmp_path: Path):
    hook = PredictionHook(tmp_path / "new" / "rows.json")
    loader = SimpleNamespace(dataset=range(3))
    runner: Any = SimpleNamespace(test_dataloader=loader)
    for _ in range(2):
        hook.before_test_epoch(runner)
        hook.after_test_iter(runner, 0, None, [{"id": 0, "pred_text": "größer"}, {"id": 1}])
        hook.after_test_iter(runner, 1, None, [{"id": 2}])
        hook.after_test_epoch(runner, {})
    text = (tmp_path / "new" / "rows.json").read_text(encoding="utf-8")
    assert json.loads(text) == [{"id": 0, "pred_text": "größer"}, {"id": 1}, {"id": 2}]
    assert len(text.splitlines()) == 5
    with pytest.raises(ValueError, match=r"out_file='a\.pkl': name a \.json file"):
        PredictionHook("a.pkl")
