"""Captioning on COCO's split and on a user's own media."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from uniadapter.datasets import CaptionJsonDataset, COCOCaption, VQAJsonDataset

NAMES = [f"val2014/COCO_val2014_{number:012d}.jpg" for number in (9, 25)]
TRAIN = [
    {"image": NAMES[0], "caption": "one", "image_id": "coco_9"},
    {"image": NAMES[0], "caption": "two", "image_id": "coco_9"},
    {"image": NAMES[1], "caption": "three", "image_id": "coco_25"},
]
TEST = [{"image": NAMES[0], "caption": ["a", "b"]}, {"image": NAMES[1], "caption": ["c"]}]


def build(root: Path, content: Any, **options: Any) -> COCOCaption:
    (root / "ann.json").write_text(json.dumps(content))
    return COCOCaption(ann_file="ann.json", data_root=str(root), **options)


def infos(dataset: Any) -> list[dict]:
    return [dataset.get_data_info(i) for i in range(len(dataset))]


def test_training_has_an_item_a_caption(tmp_path: Path) -> None:
    items = infos(build(tmp_path, TRAIN))
    assert [(item["text"], item["image_id"]) for item in items] == [
        ("one", 9),
        ("two", 9),
        ("three", 25),
    ]
    assert [item["media_id"] for item in items] == [0, 0, 1]


def test_testing_has_an_item_an_image_and_nothing_to_tokenize(tmp_path: Path) -> None:
    items = infos(build(tmp_path, TEST, test_mode=True))
    assert [(item["image_id"], item["gt_captions"]) for item in items] == [
        (9, ["a", "b"]),
        (25, ["c"]),
    ]
    assert not {"text", "texts"} & set(items[0])


def test_a_training_file_may_be_tested_on(tmp_path: Path) -> None:
    assert [item["gt_captions"] for item in infos(build(tmp_path, TRAIN, test_mode=True))] == [
        ["one", "two"],
        ["three"],
    ]


def test_ground_truth_for_the_scorers(tmp_path: Path) -> None:
    truth = build(tmp_path, TEST, test_mode=True).coco_ground_truth()
    assert truth["images"] == [{"id": 9}, {"id": 25}]
    assert truth["annotations"][2] == {"image_id": 25, "caption": "c", "id": 2}
    with pytest.raises(ValueError, match="needs a dataset with test_mode=True"):
        build(tmp_path, TRAIN).coco_ground_truth()


def write(root: Path, *lines: dict) -> dict[str, Any]:
    (root / "own.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    return {"ann_file": "own.jsonl", "data_root": str(root)}


def test_own_captions(tmp_path: Path) -> None:
    own = write(tmp_path, {"media": "a.mp4", "text": "x"}, {"media": "b.jpg", "texts": ["y", "z"]})
    assert [item["text"] for item in infos(CaptionJsonDataset(**own))] == ["x", "y", "z"]
    test = infos(CaptionJsonDataset(**own, test_mode=True))
    assert [(item["image_id"], item["gt_captions"]) for item in test] == [
        ("a.mp4", ["x"]),
        ("b.jpg", ["y", "z"]),
    ]


def test_own_media_without_captions_are_only_described(tmp_path: Path) -> None:
    own = write(tmp_path, {"media": "a.mp4", "image_id": 4}, {"media": "b.jpg"})
    items = infos(CaptionJsonDataset(**own, test_mode=True))
    assert [item["image_id"] for item in items] == [4, "b.jpg"]
    assert "gt_captions" not in items[0]
    with pytest.raises(ValueError, match=r"line 1: exactly one of the keys 'text' and 'texts'"):
        CaptionJsonDataset(**own)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([{"media": "a"}, {"media": "b", "text": "x"}], "1 of 2 images have no caption.*'a'"),
        ([{"media": "a", "texts": []}], "line 1: 'texts' must be a list of at least one"),
        ([{"media": "a", "texts": ["x", 3]}], "line 1: item 1: 'texts' must be a string"),
        ([{"media": "a", "text": "x", "texts": ["y"]}], "line 1: exactly one of the keys"),
        ([{"text": "x"}], "line 1: key 'media' is missing"),
        (
            [
                {"media": "a", "text": "x", "image_id": 1},
                {"media": "b", "text": "y", "image_id": 1},
            ],
            "line 2: image_id 1 of 'b' is also that of 'a'",
        ),
        ([{"media": "a", "text": "x", "image_id": 1.5}], "line 1: 'image_id' must be a string"),
        ([], "zero-length split"),
    ],
)
def test_bad_own_captions(tmp_path: Path, lines: list, message: str) -> None:
    with pytest.raises(ValueError, match=r"own\.jsonl.*" + message):
        CaptionJsonDataset(**write(tmp_path, *lines), test_mode=True)


def test_own_questions(tmp_path: Path) -> None:
    own = write(
        tmp_path,
        {"media": "a.mp4", "question": "What?", "answer": "cat"},
        {"media": "a.mp4", "question": "Who?", "answers": ["x", "x", "y", "x"], "question_id": "q"},
    )
    first, second = infos(VQAJsonDataset(**own))
    assert (first["question_id"], first["answers"], first["answer_weights"]) == (1, ["cat"], [1.0])
    assert (second["question_id"], second["answers"]) == ("q", ["x", "y"])
    assert second["answer_weights"] == [0.75, 0.25]
    assert infos(VQAJsonDataset(**own, test_mode=True))[1]["gt_answers"] == ["x", "x", "y", "x"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"question": "x", "answer": "a"}, "line 1: key 'media' is missing"),
        ({"media": "a", "answer": "a"}, "line 1: key 'question' is missing"),
        ({"media": "a", "question": "x"}, "line 1: question 1 has no answer to train on"),
        ({"media": "a", "question": "x", "answers": []}, "line 1: 'answers' is an empty list"),
        ({"media": "a", "question": "x", "answer": " "}, "line 1: 'answer' is empty"),
        (
            {"media": "a", "question": "x", "answer": "a", "answers": ["b"]},
            "line 1: only one of the keys 'answer' and 'answers'",
        ),
    ],
)
def test_bad_own_questions(tmp_path: Path, line: dict, message: str) -> None:
    with pytest.raises(ValueError, match=r"own\.jsonl.*" + message):
        VQAJsonDataset(**write(tmp_path, line))
