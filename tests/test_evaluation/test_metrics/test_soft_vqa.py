from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from uniadapter.evaluation.metrics import SoftVQAMetric
from uniadapter.registry import METRICS


def sample(number: int, answer: str | None, scores: dict | None, **more: Any) -> dict:
    return dict(question_id=number, pred_answer=answer, gt_scores=scores, **more)


def test_the_mean_of_the_predicted_answers_scores() -> None:
    metric = METRICS.build(dict(type="SoftVQAMetric"))
    metric.process(None, [sample(1, "yes", {"yes": 0.3, "no": 1.0}, answer_type="yes/no")])
    metric.process(None, [sample(2, "cat", {}), sample(3, "2", {"2": 1})])
    metric.process(None, [sample(4, None, {"a": 1.0}, skipped=True)])
    assert metric.evaluate(4) == pytest.approx(
        {"accuracy": 130 / 4, "answer_type/yes_no": 30.0, "answer_type/unspecified": 100 / 3}
    )


@pytest.mark.parametrize(
    ("form", "want"),
    [
        ("vqa", [{"question_id": 1, "answer": "yes"}, {"question_id": 2, "answer": "no"}]),
        ("gqa", [{"questionId": 1, "prediction": "yes"}, {"questionId": 2, "prediction": "no"}]),
    ],
)
def test_files_for_the_servers(tmp_path: Path, form: str, want: list) -> None:
    file = tmp_path / "out.json"
    metric = SoftVQAMetric(submission_file=file, submission_format=form)
    metric.process(None, [sample(1, "yes", None), sample(2, "no", None)])
    assert metric.evaluate(2) == {}
    assert json.loads(file.read_text()) == want


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([sample(1, "a", None)], r"no right answers \('gt_scores'\), so there is nothing"),
        ([sample(1, "a", None), sample(2, "a", {})], "1 of 2 questions have no right answers"),
        ([sample(1, "a", {}), sample(1, "a", {})], "was given id 1 twice"),
        ([sample(1, None, {})], "needs a string as 'pred_answer'"),
        ([sample(1, "a", ["a"])], "'gt_scores' of question 1 must be a mapping"),
        ([dict(pred_answer="a", gt_scores={})], "an integer or a string as 'question_id'"),
    ],
)
def test_samples_that_are_refused(samples: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(SoftVQAMetric(), samples)


def evaluate(metric: SoftVQAMetric, samples: list) -> dict:
    metric.process(None, samples)
    return metric.evaluate(len(samples))


def test_options_that_are_refused() -> None:
    with pytest.raises(ValueError, match="submission_format='csv' is unknown"):
        SoftVQAMetric(submission_format="csv")
    with pytest.raises(ValueError, match=r"must end in \.json"):
        SoftVQAMetric(submission_file="a.txt")
