"""MSRVTT-QA from its published files, and the list of its answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from uniadapter.datasets import MSRVTTQA
from uniadapter.utils.answer_list import rank_answers_by_count, read_answer_list


def entry(number: int, video: int, answer: str, question: str = "what is it?") -> dict:
    return {
        "answer": answer,
        "category_id": 14,
        "id": number,
        "question": question,
        "video_id": video,
    }


CONTENT = [entry(0, 1, "dog"), entry(1, 0, "man", "who runs?"), entry(2, 1, "dog")]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "video0.mp4").touch()
    (tmp_path / "videos" / "video1").mkdir()
    return tmp_path


def build(root: Path, content: Any, **options: Any) -> MSRVTTQA:
    (root / "qa.json").write_text(json.dumps(content))
    return MSRVTTQA(
        ann_file="qa.json", data_root=str(root), data_prefix={"media": "videos"}, **options
    )


def test_training_items(root: Path) -> None:
    dataset = build(root, CONTENT)
    items = [dataset.get_data_info(i) for i in range(3)]
    assert [item["media_id"] for item in items] == [0, 1, 0]
    assert [Path(item["media_path"]).name for item in items] == ["video1", "video0.mp4", "video1"]
    assert (items[1]["answers"], items[1]["answer_weights"]) == (["man"], [1.0])
    assert (items[1]["text"], items[1]["question_id"]) == ("who runs?", 1)


def test_test_items(root: Path) -> None:
    item = build(root, CONTENT, test_mode=True).get_data_info(0)
    assert item["gt_answers"] == ["dog"]
    unlabelled = [{k: v for k, v in e.items() if k != "answer"} for e in CONTENT]
    assert "gt_answers" not in build(root, unlabelled, test_mode=True).get_data_info(0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "zero-length split"),
        ({"questions": []}, "a list of entries is expected"),
        ([entry(0, 0, "")], "entry 0: 'answer' is empty"),
        ([entry(0, 0, "a", "")], "entry 0: 'question' is empty"),
        ([{"question": "a", "id": 3, "video_id": 0}], "entry 0: question 3 has no answer"),
        ([{"question": "a", "answer": "b", "id": 0}], "entry 0: key 'video_id' is missing"),
        ([{"question": "a", "answer": "b", "video_id": 0}], "entry 0: key 'id' is missing"),
        ([entry(0, 0, "a"), entry(0, 1, "b")], "entry 1: question_id 0 stands at .*entry 0 too"),
        (["what?"], "entry 0: an object is expected"),
    ],
)
def test_bad_annotations(root: Path, content: Any, message: str) -> None:
    with pytest.raises(ValueError, match=r"qa\.json.*" + message):
        build(root, content)


def test_answers_are_ranked_by_count() -> None:
    answers = ["b", "a", "c", "b", " a ", "", "d", "b"]
    assert rank_answers_by_count(answers) == ["b", "a", "c", "d"]
    assert rank_answers_by_count(answers, top=2) == ["b", "a"]
    assert rank_answers_by_count(answers, min_count=2) == ["b", "a"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top": 0}, "must be at least 1"),
        ({"min_count": 0}, "must be at least 1"),
        ({"min_count": 3}, "No answer is left of 1"),
    ],
)
def test_no_answers_left(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rank_answers_by_count(["a", "a"], **options)


def test_a_broken_answer_list_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('["yes", ')
    with pytest.raises(ValueError, match=r"a\.json: line 1: not valid JSON"):
        read_answer_list(tmp_path / "a.json")
