"""LXMERT's question files of VQAv2 and GQA, and what is refused in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from uniadapter.datasets import LxmertVQA
from uniadapter.datasets.transforms import FitAndPad, LoadVideo, PackInputs

ANSWERS = ["yes", "no", "2"]
PIPELINE = [
    LoadVideo(num_frames=1, backend={"type": "image"}),
    FitAndPad(long_side=96, short_side=64),
    PackInputs(),
]
COCO = "COCO_val2014_000000000009"


def entry(number: int, label: dict[str, Any] | None, image: str = COCO, **more: Any) -> dict:
    labelled = {} if label is None else {"label": label}
    return {"img_id": image, "question_id": number, "sent": f"what {number}?", **labelled, **more}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "images/val2014").mkdir(parents=True)
    sizes = {f"val2014/{COCO}.jpg": (30, 40), "n16.png": (40, 30), "7.jpg": (20, 20)}
    for name, (height, width) in sizes.items():
        Image.fromarray(np.full((height, width, 3), 99, np.uint8)).save(tmp_path / "images" / name)
    write(tmp_path, "label2ans.json", ANSWERS)
    write(tmp_path, "ans2label.json", {answer: index for index, answer in enumerate(ANSWERS)})
    return tmp_path


def write(root: Path, name: str, content: Any) -> str:
    (root / name).write_text(json.dumps(content))
    return name


def build(root: Path, ann_file: Any, **options: Any) -> LxmertVQA:
    return LxmertVQA(
        ann_file=ann_file,
        label2ans="label2ans.json",
        ans2label="ans2label.json",
        data_root=str(root),
        data_prefix={"media": "images/"},
        pipeline=PIPELINE,
        **options,
    )


def test_training_items_of_two_files(root: Path) -> None:
    kinds = {"answer_type": "other", "question_type": "what is"}
    first = write(root, "train.json", [entry(1, {"yes": 1.0, "2": 0.3}, **kinds), entry(2, {})])
    second = write(root, "nominival.json", [entry(3, {"no": 1}, "n16"), entry(4, {"no": 1}, "7")])
    data = build(root, [first, second])
    assert len(data) == 4
    item = data.get_data_info(0)
    assert item["media_path"].endswith(f"val2014/{COCO}.jpg")
    assert (item["text"], item["question_id"]) == ("what 1?", 1)
    assert (item["answers"], item["answer_weights"]) == (["yes", "2"], [1.0, 0.3])
    assert item["question_type"] == "what is"
    assert data.get_data_info(1)["answers"] == []
    # Whether a picture lies is read from its head; a square one does.
    assert data.lying() == [True, True, False, True]
    assert [tuple(data[i]["inputs"].shape) for i in (0, 2, 3)] == [
        (1, 3, 64, 96),
        (1, 3, 96, 64),
        (1, 3, 64, 96),
    ]
    sample = data[0]["data_samples"]
    assert sample.answer_weights == [1.0, 0.3]
    assert "gt_scores" not in sample


def test_items_that_are_scored_and_items_to_submit(root: Path) -> None:
    scored = build(root, write(root, "minival.json", [entry(1, {"yes": 0.9})]), test_mode=True)
    assert scored[0]["data_samples"].gt_scores == {"yes": 0.9}
    assert "answers" not in scored.get_data_info(0)
    to_submit = build(root, write(root, "test.json", [entry(1, None)]), test_mode=True)
    assert "gt_scores" not in to_submit.get_data_info(0)


@pytest.mark.parametrize("test_mode", [False, True])
def test_questions_with_an_unknown_answer(root: Path, test_mode: bool) -> None:
    """GQA's are left out, of what is scored too."""
    rows = [entry(1, {"yes": 1.0}), entry(2, {"cat": 1.0}), entry(3, {"no": 1, "cat": 1.0})]
    name = write(root, "testdev.json", rows)
    kept = build(root, name, unknown="drop", test_mode=test_mode)
    assert [kept.get_data_info(i)["question_id"] for i in range(len(kept))] == [1]
    with pytest.raises(ValueError, match=r"testdev\.json: entry 1: the answer 'cat' of question 2"):
        build(root, name, test_mode=test_mode)
    none = write(root, "none.json", rows[1:])
    with pytest.raises(ValueError, match="zero-length split, no question whose answers"):
        build(root, none, unknown="drop")


def test_a_broken_picture_is_replaced_by_one_of_its_shape(root: Path) -> None:
    (root / "images/bad.jpg").write_bytes(b"no picture")
    rows = [entry(1, {}, "bad"), entry(2, {}, "n16"), entry(3, {}, "n16"), entry(4, {}, "7")]
    data = build(root, write(root, "train.json", rows), max_refetch=50)
    assert data.lying() == [True, False, False, True]
    for _ in range(5):
        found = data[0]
        assert tuple(found["inputs"].shape) == (1, 3, 64, 96)
        assert found["data_samples"].question_id == 4


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"a": 1}, "a list of entries is expected, as in LXMERT's question files"),
        ([], "zero-length split, no question"),
        ([3], "entry 0: an object is expected"),
        ([{"img_id": "7", "question_id": 1}], "key 'sent' is missing"),
        ([entry(1, {}) | {"sent": " "}], "'sent' is empty"),
        ([entry(1, None)], "key 'label' is missing: training needs the scores"),
        ([entry(1, {}), entry(1, {})], r"entry 1: question_id 1 stands at .*entry 0 too"),
        ([entry(1, ["yes"])], "'label' must be an object of answers and scores, got list"),
        ([entry(1, {"yes": 2})], "the score of 'yes' must be a number from 0 to 1, got 2"),
        ([entry(1, {"yes": "1"})], "the score of 'yes' must be a number"),
        ([entry(1, {"yes": True})], "the score of 'yes' must be a number"),
        ([entry(1, {"yes": float("nan")})], "the score of 'yes' must be a number"),
        ([entry(1, {}) | {"question_id": None}], "'question_id' must be a string"),
        ([entry(1, {}) | {"answer_type": 3}], "'answer_type' must be a string"),
    ],
)
def test_files_that_are_refused(root: Path, rows: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(root, write(root, "train.json", rows))


def test_labels_of_some_only(root: Path) -> None:
    name = write(root, "minival.json", [entry(1, {}), entry(2, None)])
    with pytest.raises(
        ValueError, match=r"1 of 2 questions have no 'label', the first at .*entry 1"
    ):
        build(root, name, test_mode=True)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"yes": 0, "no": 1}, "lacks the answer '2', class 2"),
        ({"yes": 0, "no": 2, "2": 1}, "'no' is class 2, and .* has it at 1"),
        ({"yes": 0, "no": 1, "2": 2, "cat": 3}, "has 4 answers, such as 'cat'"),
        ({"yes": False, "no": 1, "2": 2}, "'yes' is class False"),
        (["yes"], r"an object \{answer: class\} is expected"),
    ],
)
def test_tables_that_disagree(root: Path, table: Any, message: str) -> None:
    name = write(root, "train.json", [entry(1, {})])
    write(root, "ans2label.json", table)
    with pytest.raises(ValueError, match=message):
        build(root, name)


def test_files_and_options_that_are_not_there(root: Path) -> None:
    name = write(root, "train.json", [entry(1, {})])
    with pytest.raises(FileNotFoundError, match=r"ann_file = .*gone\.json' does not exist"):
        build(root, "gone.json")
    with pytest.raises(ValueError, match="ann_file is empty"):
        build(root, [])
    with pytest.raises(ValueError, match="unknown must be one of"):
        build(root, name, unknown="keep")
    (root / "label2ans.json").unlink()
    with pytest.raises(FileNotFoundError, match="label2ans = "):
        build(root, name)
