"""Metrics of VL-Adapter's tasks against formulas written out, and the files for servers."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from uniadapter.evaluation.functional import score_captions
from uniadapter.evaluation.metrics import (
    ChoiceMetric,
    NLVR2Metric,
    SoftVQAMetric,
    VideoCaptionMetric,
    VQAMetric,
)
from uniadapter.registry import METRICS


def measured(metric: Any, samples: list[dict]) -> dict[str, float]:
    metric.process(None, samples)
    return metric.evaluate(len(samples))


ANSWER = st.sampled_from(["yes", "two", "2", "a dog", "No."])


@settings(max_examples=draws(20), deadline=None)
@given(st.data())
def test_vqa_with_scores_and_marks(data: st.DataObject) -> None:
    marks = st.sampled_from([True, False, None])
    samples = [
        dict(
            question_id=number,
            pred_text=data.draw(ANSWER),
            gt_answers=data.draw(st.lists(ANSWER, min_size=10, max_size=10)),
            gt_scores={data.draw(ANSWER): data.draw(st.sampled_from([0.3, 1.0]))},
            is_topk_optimal=data.draw(marks),
        )
        for number in range(4)
    ]
    config = dict(type="VQAMetric", protocol="older", prediction="pred_text")
    found = measured(METRICS.build(config), samples)
    # One figure is that of the questions by themselves.
    alone = [
        measured(VQAMetric(protocol="older", prediction="pred_text"), [s])["accuracy"]
        for s in samples
    ]
    wanted = {"accuracy": sum(alone) / 4}
    scores = [100 * s["gt_scores"].get(s["pred_text"], 0) for s in samples]
    wanted["topk_score"] = sum(scores) / 4
    for name, mark in (("topk_optimal", True), ("topk_not_optimal", False)):
        part = [a for a, s in zip(alone, samples, strict=True) if s["is_topk_optimal"] is mark]
        if part:
            wanted[name] = sum(part) / len(part)
    assert found == pytest.approx(wanted)


def test_vqa_protocols() -> None:
    sample = dict(question_id=1, pred_answer="two", gt_answers=["two"] * 10)
    assert measured(VQAMetric(), [sample]) == {"accuracy": 100.0}
    assert measured(VQAMetric(protocol="older"), [sample]) == {"accuracy": 0.0}
    with pytest.raises(ValueError, match="protocol='old' is unknown"):
        VQAMetric(protocol="old")
    with pytest.raises(ValueError, match="needs a string as 'pred_text'"):
        measured(VQAMetric(prediction="pred_text"), [sample])


def test_gqa_counts_the_exact_text() -> None:
    samples = [
        dict(question_id=str(n), pred_text=text, gt_scores={"dog": 1.0})
        for n, text in enumerate(["dog", "Dog", "dog ", "cat"])
    ]
    assert measured(SoftVQAMetric(prediction="pred_text"), samples) == {"accuracy": 25.0}


@settings(max_examples=draws(20), deadline=None)
@given(st.data())
def test_nlvr2(data: st.DataObject) -> None:
    bit = st.integers(0, 1)
    places = [(a, b, c) for a in range(2) for b in range(3) for c in range(2)]
    used = data.draw(st.lists(st.sampled_from(places), min_size=1, unique=True))
    samples = [
        dict(
            question_id=f"u{n}",
            identifier=f"test1-{a}-{b}-{c}",
            pred_label=data.draw(bit),
            label=data.draw(bit),
        )
        for n, (a, b, c) in enumerate(used)
    ]
    found = measured(NLVR2Metric(), samples)
    right = {place: s["pred_label"] == s["label"] for place, s in zip(used, samples, strict=True)}
    groups = {(a, c) for a, _, c in used}
    whole = [all(r for (x, _, y), r in right.items() if (x, y) == group) for group in groups]
    wanted = {"accuracy": 100 * sum(right.values()) / len(right)}
    wanted["consistency"] = 100 * sum(whole) / len(whole)
    assert found == pytest.approx(wanted)


def test_nlvr2_file(tmp_path: Path) -> None:
    metric = NLVR2Metric(submission_file=str(tmp_path / "out.csv"))
    samples = [dict(question_id=n, identifier=f"dev-{n}-0-1", pred_label=n) for n in (0, 1)]
    assert measured(metric, samples) == {}
    rows = list(csv.reader((tmp_path / "out.csv").read_text().splitlines()))
    assert rows == [["dev-0-0-1", "False"], ["dev-1-0-1", "True"]]
    with pytest.raises(ValueError, match="must end in .csv"):
        NLVR2Metric(submission_file="out.json")


STATEMENT = dict(question_id=1, identifier="dev-1-0-1", pred_label=1, label=1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"identifier": "dev-1-0"}, "'identifier' of statement 1 must have 4 fields"),
        ({"identifier": None}, "must have 4 fields"),
        ({"pred_label": None}, "statement 1 needs a prediction and a 'label' of 0"),
        ({"label": 2}, "got 2"),
        ({"label": None}, r"no right answers \('label'\), so there is nothing"),
    ],
)
def test_bad_statements(change: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        measured(NLVR2Metric(), [{**STATEMENT, **change}])


def test_choices_and_their_file(tmp_path: Path) -> None:
    texts = ["a0", "a1", "a 1", "", "b3", "A4", "a", "a12"]
    samples = [
        dict(question_id=n, pred_text=text, label=1 if n else 0) for n, text in enumerate(texts)
    ]
    path = tmp_path / "tvqa_val_predictions.json"
    assert measured(ChoiceMetric(submission_file=str(path)), samples) == {"accuracy": 25.0}
    wanted = [0, 1, 0, 0, 3, 4, 0, 1]
    assert json.loads(path.read_text()) == {str(n): value for n, value in enumerate(wanted)}
    unlabelled = [{**sample, "label": None} for sample in samples]
    assert measured(ChoiceMetric(submission_file=str(path)), unlabelled) == {}
    with pytest.raises(ValueError, match="'label' of question 0 must be the number"):
        measured(ChoiceMetric(), [{**samples[0], "label": "0"}])
    twins = [{**samples[0], "question_id": number} for number in (1, "1")]
    with pytest.raises(ValueError, match="two question ids are one as a text"):
        measured(ChoiceMetric(submission_file=str(path)), twins)


CAPTIONS = [("0-0", 0, "a man walks"), ("0-1", 0, "he goes to the door"), ("1-0", 1, "she sits")]


def clips(times: bool, truth: bool = True) -> list[dict]:
    said = {0: "a man goes to the café door", 1: "a woman sits down"}
    return [
        dict(image_id=row, clip_id=clip, video_id=f"v{clip}", pred_text=said[clip])
        | (dict(ts=[0.5, 2]) if times else {})
        | (dict(gt_captions=[text]) if truth else {})
        for row, clip, text in CAPTIONS
    ]


def test_captions_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "tvc_val_predictions.jsonl"
    found = measured(VideoCaptionMetric(results_file=str(path)), clips(times=True))
    references = {row: [text] for row, _, text in CAPTIONS}
    predictions = {sample["image_id"]: sample["pred_text"] for sample in clips(True)}
    assert found == pytest.approx(score_captions(references, predictions))
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert rows == [
        {
            "vid_name": f"v{clip}",
            "clip_id": clip,
            "ts": [0.5, 2],
            "descs": [{"desc": text}],
        }
        for clip, text in enumerate(["a man goes to the café door", "a woman sits down"])
    ]


def test_captions_of_videos_without_times(tmp_path: Path) -> None:
    path = tmp_path / "yc2c_test_predictions.jsonl"
    assert measured(VideoCaptionMetric(results_file=path), clips(False, truth=False)) == {}
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [list(row) for row in rows] == [["video_id", "clip_id", "descs"]] * 2
    with pytest.raises(ValueError, match="VideoCaptionMetric.results_file must end in .jsonl"):
        VideoCaptionMetric(results_file="x.json")
    nameless = [{**sample, "video_id": None} for sample in clips(False)]
    with pytest.raises(ValueError, match="the name of the video as 'video_id' of clip 0"):
        measured(VideoCaptionMetric(), nameless)
