"""Metrics of several tasks in one run: who sees which sample, the table, the average."""

from __future__ import annotations

from typing import Any

import pytest
from mmengine.evaluator import BaseMetric

from uniadapter.evaluation import JointEvaluator
from uniadapter.registry import EVALUATOR
from uniadapter.structures import MultimodalSample


class Right(BaseMetric):
    """The share of samples that are right."""

    def __init__(self, name: str = "accuracy") -> None:
        super().__init__(prefix="")
        self.name, self.sizes = name, []
        self.prefix = None

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results += [sample["right"] for sample in data_samples]

    def evaluate(self, size: int) -> dict[str, float]:
        self.sizes.append(size)
        return super().evaluate(size)

    def compute_metrics(self, results: list) -> dict[str, float]:
        return {self.name: sum(results) / len(results)}


def sample(task: str, right: int) -> MultimodalSample:
    return MultimodalSample(metainfo={"task": task, "right": right})


def evaluator(**options: Any) -> JointEvaluator:
    built = JointEvaluator({"vqa": Right(), "caption": [Right("CIDEr"), Right("BLEU")]}, **options)
    built.dataset_meta = {"tasks": {"vqa": 2, "caption": 1}}
    return built


def test_samples_go_to_their_task_and_the_average_is_of_the_named_measures() -> None:
    one = evaluator(average={"vqa": "accuracy", "caption": "CIDEr"}, scale={"caption": 100})
    one.process([sample("vqa", 1), sample("vqa", 0)])
    one.process([sample("caption", 1)])
    found = one.evaluate(3)
    assert found == {
        "vqa/accuracy": 0.5,
        "caption/CIDEr": 1.0,
        "caption/BLEU": 1.0,
        "average": (0.5 + 100) / 2,
    }
    assert one.of_task["vqa"][0].sizes == [2]
    assert one.of_task["caption"][1].sizes == [1]
    assert one.table(found).splitlines() == [
        "task     measure      value",
        "vqa      accuracy*   0.5000",
        "caption  CIDEr*      1.0000",
        "caption  BLEU        1.0000",
        "average             50.2500",
    ]


def test_it_is_built_from_a_config_and_without_an_average() -> None:
    one = EVALUATOR.build({"type": "JointEvaluator", "metrics": {"vqa": Right()}})
    one.dataset_meta = {"tasks": {"vqa": 1}}
    one.process([sample("vqa", 1)])
    assert one.evaluate(1) == {"vqa/accuracy": 1.0}


class Silent(Right):
    """Has no truths, as the metrics of a split to submit."""

    def compute_metrics(self, results: list) -> dict[str, float]:
        return {}


def test_a_task_that_measures_nothing_leaves_no_average() -> None:
    one = JointEvaluator(
        {"vqa": Right(), "tvqa": Silent()}, average={"vqa": "accuracy", "tvqa": "accuracy"}
    )
    one.dataset_meta = {"tasks": {"vqa": 1, "tvqa": 1}}
    one.process([sample("vqa", 1), sample("tvqa", 1)])
    assert one.evaluate(2) == {"vqa/accuracy": 1.0}


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="metrics by task"):
        JointEvaluator([Right()])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'vqa' has no metric"):
        JointEvaluator({"vqa": []})
    with pytest.raises(ValueError, match=r"average names \['gqa'\]"):
        evaluator(average={"gqa": "accuracy"})
    with pytest.raises(ValueError, match=r"scale names \['vqa'\]"):
        evaluator(average={"caption": "CIDEr"}, scale={"vqa": 2})
    one = evaluator(average={"vqa": "score"})
    with pytest.raises(ValueError, match="task is 'gqa'"):
        one.process([sample("gqa", 1)])
    one.process([sample("vqa", 1), sample("vqa", 0), sample("caption", 1)])
    with pytest.raises(ValueError, match="takes 'score' of task 'vqa', which has"):
        one.evaluate(3)
    one = evaluator()
    with pytest.raises(ValueError, match="4 items in all"):
        one.evaluate(4)
    one.dataset_meta = {"tasks": {"vqa": 3}}
    with pytest.raises(ValueError, match="metrics of"):
        one.evaluate(3)
    twice = JointEvaluator({"vqa": [Right(), Right()]})
    twice.dataset_meta = {"tasks": {"vqa": 1}}
    twice.process([sample("vqa", 1)])
    with pytest.raises(ValueError, match="give one of them a prefix"):
        twice.evaluate(1)
