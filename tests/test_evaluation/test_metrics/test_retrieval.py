from __future__ import annotations

import pytest
import torch
from mmengine.evaluator import Evaluator

from uniadapter.evaluation import RetrievalMetric
from uniadapter.registry import METRICS

SCORES = torch.tensor([[0.9, 0.2], [0.3, 0.6], [0.1, 0.7]])
T2V = [[0], [0], [1]]
V2T = [[0, 1], [2]]


def _feed(metric: RetrievalMetric) -> None:
    # Texts arrive in two blocks.
    metric.process(None, [dict(direction=0, scores=SCORES[:2], positives=T2V[:2])])
    metric.process(
        None,
        [
            dict(direction=0, scores=SCORES[2:], positives=T2V[2:]),
            dict(direction=1, scores=SCORES.t(), positives=V2T),
        ],
    )


def test_both_directions_by_hand() -> None:
    metric = RetrievalMetric()
    _feed(metric)
    metrics = metric.evaluate(size=2)
    third = 100 / 3
    # Text 1 is scored higher with the wrong video: rank 2.
    assert metrics == pytest.approx(
        {
            "t2v/R1": 2 * third,
            "t2v/R5": 100.0,
            "t2v/R10": 100.0,
            "t2v/MdR": 1.0,
            "t2v/RMean": (2 * third + 200) / 3,
            "v2t/R1": 100.0,
            "v2t/R5": 100.0,
            "v2t/R10": 100.0,
            "v2t/MdR": 1.0,
            "v2t/RMean": 100.0,
        }
    )
    assert metric.results == []


def test_names_and_prefix_from_a_config() -> None:
    metric = METRICS.build(dict(type="RetrievalMetric", names=("t2i", "i2t"), prefix="coco"))
    _feed(metric)
    metrics = Evaluator(metric).evaluate(2)
    assert {"coco/t2i/R1", "coco/i2t/MdR"} < set(metrics)


@pytest.mark.parametrize("names", [("t2v",), ("a", "a"), (1, 2)])
def test_bad_names(names: tuple) -> None:
    with pytest.raises(ValueError, match=r"RetrievalMetric.names takes two different strings"):
        RetrievalMetric(names=names)


def test_bad_direction() -> None:
    with pytest.raises(ValueError, match="direction must be 0"):
        RetrievalMetric().process(None, [dict(direction="t2v", scores=SCORES, positives=T2V)])


def test_nothing_processed_names_the_loop() -> None:
    with pytest.raises(ValueError, match="RetrievalValLoop/RetrievalTestLoop"):
        RetrievalMetric().evaluate(0)


def test_sum_of_the_six_recalls() -> None:
    metric = RetrievalMetric(names=("t2i", "i2t"), total=True)
    _feed(metric)
    assert metric.evaluate(2)["Rsum"] == pytest.approx(200 / 3 + 500)
