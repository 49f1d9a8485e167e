from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator

from uniadapter.evaluation import QAExactMatch, VQAMetric
from uniadapter.registry import METRICS
from uniadapter.structures import MultimodalSample


def _vqa(question_id: Any, pred: str, answers: list[str] | None, **more: Any) -> dict:
    return dict(question_id=question_id, pred_answer=pred, gt_answers=answers, **more)


RIGHT = _vqa(1, "2", ["two"] * 5 + ["three"] * 5, question_type="how many", answer_type="number")
HALF = _vqa(2, "yes", ["Yes"] * 2 + ["no"] * 8, question_type="is the", answer_type="yes/no")
WRONG = _vqa(3, "no", ["yes"] * 10, question_type="is the", answer_type="yes/no")


def test_vqa_accuracy_overall_and_by_type() -> None:
    metric = METRICS.build(dict(type="VQAMetric"))
    metric.process(None, [RIGHT, HALF])
    metric.process(None, [WRONG])
    assert metric.evaluate(3) == pytest.approx(
        {
            "accuracy": 160 / 3,
            "answer_type/number": 100.0,
            "answer_type/yes_no": 30.0,
            "question_type/how_many": 100.0,
            "question_type/is_the": 30.0,
        }
    )
    assert metric.results == []


def test_samples_of_every_kind_and_integers_of_numpy_and_torch() -> None:
    element = MultimodalSample(metainfo=dict(question_id=np.int64(7), gt_answers=["a"] * 10))
    element.set_field("a", "pred_answer")
    other = SimpleNamespace(question_id=torch.tensor(8), pred_answer="b", gt_answers=("a",) * 10)
    metric = VQAMetric(prefix="vqa")
    evaluator = Evaluator(metric)
    evaluator.process([element, other, _vqa("x9", "a", ["a"] * 10)])
    assert [record["id"] for record in metric.results] == [7, 8, "x9"]
    assert evaluator.evaluate(3) == pytest.approx({"vqa/accuracy": 200 / 3})


def test_types_known_for_some() -> None:
    metric = VQAMetric()
    metric.process(None, [RIGHT, _vqa(4, "a", ["a"] * 10)])
    metrics = metric.evaluate(2)
    assert metrics["answer_type/unspecified"] == 100.0
    assert metrics["question_type/unspecified"] == 100.0


def test_submission_without_right_answers(tmp_path: Path) -> None:
    path = tmp_path / "new" / "submission.json"
    metric = VQAMetric(submission_file=path)
    metric.process(None, [_vqa(11, "café", None), dict(question_id=12, pred_answer="")])
    assert metric.evaluate(2) == {}
    assert json.loads(path.read_text(encoding="utf-8")) == [
        {"question_id": 11, "answer": "café"},
        {"question_id": 12, "answer": ""},
    ]


def test_submission_beside_the_accuracy(tmp_path: Path) -> None:
    path = tmp_path / "submission.json"
    metric = VQAMetric(submission_file=str(path))
    metric.process(None, [RIGHT])
    assert metric.evaluate(1)["accuracy"] == 100.0
    assert json.loads(path.read_text()) == [{"question_id": 1, "answer": "2"}]


def test_skipped_sample_counts_as_wrong() -> None:
    metric = VQAMetric()
    metric.process(None, [RIGHT, dict(question_id=5, skipped=True, gt_answers=["a"] * 10)])
    assert metric.evaluate(2)["accuracy"] == 50.0


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (dict(pred_answer="a"), "integer or a string as 'question_id'.*got None"),
        (dict(question_id=True, pred_answer="a"), "'question_id'.*got True"),
        (dict(question_id=1.5, pred_answer="a"), "'question_id'.*got 1.5"),
        (dict(question_id=1), "string as 'pred_answer'.*got None.*mode='predict'"),
        (_vqa(1, "a", []), "'gt_answers' of question 1 .*at least one"),
        (_vqa(1, "a", [3]), "'gt_answers' of question 1 "),
        (_vqa(1, "a", ["a"] * 10, answer_type=4), "'answer_type'.*must be a string, got 4"),
    ],
)
@pytest.mark.parametrize("metric", [VQAMetric, QAExactMatch])
def test_bad_samples(metric: type, sample: dict, message: str) -> None:
    if metric is QAExactMatch and "answer_type" in sample:
        sample, message = dict(sample, gt_answers="a", question_type=4), "'question_type'.*got 4"
    with pytest.raises(ValueError, match=message):
        metric().process(None, [sample])


def test_bad_collections() -> None:
    metric = VQAMetric()
    with pytest.raises(ValueError, match="no data samples; is the split empty"):
        metric.evaluate(0)
    metric.process(None, [RIGHT])
    with pytest.raises(ValueError, match="results of 1 samples but the dataset has 2"):
        metric.evaluate(2)
    metric.process(None, [RIGHT, dict(RIGHT, pred_answer="4")])
    with pytest.raises(ValueError, match="id 1 twice, with the predictions '2' and '4'"):
        metric.evaluate(2)
    metric.process(None, [RIGHT, _vqa(9, "a", None)])
    with pytest.raises(ValueError, match=r"1 of 2 questions have no right answers.*: 9\. "):
        metric.evaluate(2)
    metric.process(None, [_vqa(9, "a", None)])
    with pytest.raises(ValueError, match="set submission_file"):
        metric.evaluate(1)
    metric.process(None, [_vqa(9, "a", ["a"])])
    with pytest.raises(ValueError, match="question 9: VQA accuracy compares.*Use QAExactMatch"):
        metric.evaluate(1)


def test_submission_file_must_be_json() -> None:
    with pytest.raises(ValueError, match=r"VQAMetric.submission_file must end in .json"):
        VQAMetric(submission_file="answers.txt")


def test_exact_match_by_question_word(tmp_path: Path) -> None:
    metric = METRICS.build(dict(type="QAExactMatch", submission_file=str(tmp_path / "a.json")))
    metric.process(
        None,
        [
            _vqa(0, "Guitar ", "guitar", question="what is played?"),
            _vqa(1, "man", ["woman"], question="Who plays?"),
            _vqa(2, "dog", ["dog"], question_type="who"),
            _vqa(3, "", ["dog"], question="which one?"),
        ],
    )
    assert metric.evaluate(4) == {
        "accuracy": 50.0,
        "question_type/other": 0.0,
        "question_type/what": 100.0,
        "question_type/who": 50.0,
    }
    assert len(json.loads((tmp_path / "a.json").read_text())) == 4


def test_exact_match_has_one_right_answer() -> None:
    with pytest.raises(ValueError, match="question 3 has 2.*Use VQAMetric"):
        QAExactMatch().process(None, [_vqa(3, "a", ["a", "b"])])
