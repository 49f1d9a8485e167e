"""What texts count as, and GLUE's submission files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from uniadapter.evaluation.metrics.glue import GLUEMetric

NO_LABELS = {"index": 0, "pred_text": "1"}


def measure(task: str, rows: list[tuple[str, str | None]], **options: Any) -> dict[str, float]:
    metric = GLUEMetric(task, **options)
    for index, (text, label) in enumerate(rows):
        sample = {"index": index, "pred_text": text}
        metric.process({}, [sample if label is None else {**sample, "label": label}])
    return metric.evaluate(len(rows))


def test_each_task_has_its_measures():
    binary = [("1", "1"), ("0", "1"), ("1", "0"), ("1", "1")]
    assert measure("cola", binary) == {
        "matthews": pytest.approx(-100 / 3),
        "score": pytest.approx(-100 / 3),
        "unreadable": 0.0,
    }
    found = measure("mrpc", binary)
    assert found["f1"] == pytest.approx(200 / 3)
    assert found["accuracy"] == 50
    assert found["score"] == pytest.approx((200 / 3 + 50) / 2)
    assert measure("qqp", binary) == found
    assert measure("sst2", binary)["score"] == 50
    words = [("0", "entailment"), ("1", "neutral"), ("2", "contradiction"), ("2", "neutral")]
    assert measure("mnli", words)["accuracy"] == 75
    pairs = [("0", "entailment"), ("1", "not_entailment")]
    for task in ("qnli", "rte"):
        assert measure(task, pairs)["accuracy"] == 100
    # The file's score counts, not what it would be in steps.
    scores = [("1.0", "1.05"), ("2.0", "2.15"), ("4.8", "4.9")]
    found = measure("stsb", scores)
    assert found["spearman"] == pytest.approx(100)
    assert 99.9 < found["pearson"] < 100
    assert found["score"] == pytest.approx((found["pearson"] + found["spearman"]) / 2)


@pytest.mark.parametrize("text", ["", "2", "yes", "0.0", "entailment", "1 1", "01"])
@pytest.mark.parametrize("label", ["0", "1"])
def test_a_text_that_says_no_label_is_wrong(text, label):
    found = measure("sst2", [(text, label), (" 1 ", "1")])
    assert (found["accuracy"], found["unreadable"]) == (50, 50)


@pytest.mark.parametrize("text", ["", "high", "nan", "inf", "1.2.3"])
def test_a_text_that_says_no_score_is_minus_one(text):
    rows = [("1.0", "1.0"), ("3.0", "3.0"), (text, "5.0")]
    said = measure("stsb", [*rows[:2], ("-1", "5.0")])
    assert measure("stsb", rows) == {**said, "unreadable": pytest.approx(100 / 3)}


def test_a_submission_has_the_files_order_and_words(tmp_path: Path):
    path = tmp_path / "out" / "RTE.tsv"
    metric = GLUEMetric("rte", submission_file=path)
    for index, text in ((2, "0"), (0, "1"), (1, "what")):
        metric.process({}, [{"index": index, "pred_text": text}])
    assert metric.evaluate(3) == {}
    assert path.read_text().splitlines() == [
        "index\tprediction",
        "0\tnot_entailment",
        "1\tentailment",
        "2\tentailment",
    ]
    measure("stsb", [("3.8", "3.9"), ("no", "1")], submission_file=path)
    assert path.read_text() == "index\tprediction\n0\t3.800\n1\t0.000\n"


def test_what_is_refused():
    with pytest.raises(ValueError, match="GLUEMetric.task='wnli' is unknown"):
        GLUEMetric("wnli")
    with pytest.raises(ValueError, match=r"submission_file must end in .tsv, got 'a.json'"):
        GLUEMetric("rte", submission_file="a.json")
    with pytest.raises(ValueError, match="the dataset is another task's"):
        measure("rte", [("0", "neutral")])
    with pytest.raises(ValueError, match="1 of 2 samples have no label: 1"):
        measure("rte", [("0", "entailment"), ("1", None)])
    with pytest.raises(ValueError, match="set submission_file to write the answers"):
        measure("rte", [("0", None)])
    metric = GLUEMetric("rte")
    metric.process({}, [NO_LABELS])
    with pytest.raises(ValueError, match="has results of 1 samples but the dataset has 2"):
        metric.evaluate(2)
    with pytest.raises(ValueError, match="needs a string as 'pred_text'"):
        GLUEMetric("rte").process({}, [{"index": 0}])
