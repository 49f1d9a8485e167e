"""VQAv2 in the official and in BLIP's format, and what all questions have in common."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from uniadapter.datasets import VQAv2

QUESTIONS = {
    "data_subtype": "train2014",
    "questions": [
        {"image_id": 9, "question": "What's there?", "question_id": 9000},
        {"image_id": 9, "question": "Is it red?", "question_id": 9001},
        {"image_id": 25, "question": "How many?", "question_id": 25000},
    ],
}


def annotation(question_id: int, answers: list[str]) -> dict:
    return {
        "question_type": "what",
        "multiple_choice_answer": answers[0] if answers else "",
        "answers": [
            {"answer": answer, "answer_confidence": "yes", "answer_id": i + 1}
            for i, answer in enumerate(answers)
        ],
        "image_id": 9,
        "answer_type": "other",
        "question_id": question_id,
    }


ANNOTATIONS = {
    "annotations": [
        annotation(25000, ["2"] * 10),
        annotation(9001, ["yes"] * 7 + ["no"] * 3),
        annotation(9000, ["cat"] * 8 + [" cat ", ""]),
    ]
}
TEST_DEV = {**QUESTIONS, "data_subtype": "test-dev2015"}
BLIP = [
    {
        "question_id": 7,
        "question": "What?",
        "answer": ["a"] * 6 + ["b"] * 4,
        "image": "val2014/x.jpg",
        "dataset": "vqa",
    },
    {"question": "Which?", "answer": "c", "image": "VG_100K/1.jpg", "dataset": "vg"},
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("images/train2014", "images/test2015", "images/val2014", "vg/VG_100K"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []

    def collect(message: str, logger: Any = None, level: int = logging.INFO) -> None:
        lines.append(message)

    monkeypatch.setattr("uniadapter.datasets.base_question.print_log", collect)
    return lines


def write(root: Path, name: str, content: Any) -> str:
    (root / name).write_text(json.dumps(content))
    return name


def build(root: Path, questions: Any, annotations: Any = None, **options: Any) -> VQAv2:
    options.setdefault("question_file", write(root, "q.json", questions))
    if annotations is not None:
        options.setdefault("ann_file", write(root, "a.json", annotations))
    return VQAv2(data_root=str(root), data_prefix={"media": "images", "vg": "vg"}, **options)


def infos(dataset: VQAv2) -> list[dict]:
    return [dataset.get_data_info(i) for i in range(len(dataset))]


def test_training_weighs_answers_by_their_share(root: Path, logged: list[str]) -> None:
    first, second, third = infos(build(root, QUESTIONS, ANNOTATIONS))
    assert first["question_id"] == 9000
    assert (first["text"], first["question"]) == ("What's there?", "What's there?")
    assert first["media_path"] == str(root / "images/train2014/COCO_train2014_000000000009.jpg")
    # A blank answer has its share all the same, and nobody gets it.
    assert (first["answers"], first["answer_weights"]) == (["cat"], [pytest.approx(0.9)])
    assert "1 blank answers get no weight" in logged[0]
    assert second["answers"] == ["yes", "no"]
    assert second["answer_weights"] == [pytest.approx(0.7), pytest.approx(0.3)]
    assert [item["media_id"] for item in (first, second, third)] == [0, 0, 1]
    assert "gt_answers" not in first


def test_testing_keeps_all_ten_answers_and_the_types(root: Path) -> None:
    first = infos(build(root, QUESTIONS, ANNOTATIONS, test_mode=True))[0]
    assert first["gt_answers"] == ["cat"] * 8 + [" cat ", ""]
    assert (first["question_type"], first["answer_type"]) == ("what", "other")
    assert "answers" not in first


def test_questions_of_the_server_have_no_answers(root: Path) -> None:
    found = infos(build(root, TEST_DEV, test_mode=True))
    assert len(found) == 3
    assert not {"gt_answers", "question_type"} & set(found[0])
    assert found[0]["media_path"].endswith("images/test2015/COCO_test2015_000000000009.jpg")


def test_several_files_and_visual_genome(root: Path) -> None:
    more = {"data_subtype": "val2014", "questions": [{**QUESTIONS["questions"][0]}]}
    more["questions"][0]["question_id"] = 1
    dataset = build(
        root,
        None,
        question_file=[write(root, "q1.json", QUESTIONS), write(root, "q2.json", more)],
        ann_file=[
            write(root, "a1.json", ANNOTATIONS),
            write(root, "a2.json", {"annotations": [annotation(1, ["dog"])]}),
        ],
        vg_file=write(root, "vg.json", BLIP[1:]),
    )
    found = infos(dataset)
    assert [item["question_id"] for item in found] == [9000, 9001, 25000, 1, "vg_0"]
    assert found[3]["media_path"].endswith("val2014/COCO_val2014_000000000009.jpg")
    assert found[4]["media_path"] == str(root / "vg/VG_100K/1.jpg")
    assert (found[4]["answers"], found[4]["answer_weights"]) == (["c"], [0.2])
    assert [item["media_id"] for item in found] == [0, 0, 1, 2, 3]


def test_blips_own_files(root: Path) -> None:
    first, second = infos(build(root, BLIP, vg_weight=0.5))
    assert (first["answers"], first["answer_weights"]) == (["a", "b"], [0.6, 0.4])
    assert first["media_path"] == str(root / "images/val2014/x.jpg")
    assert (second["question_id"], second["answer_weights"]) == ("vg_1", [0.5])


def test_the_whole_pipeline(root: Path) -> None:
    for name in ("9", "25"):
        path = root / f"images/train2014/COCO_train2014_{int(name):012d}.jpg"
        Image.fromarray(np.full((20, 30, 3), 9, np.uint8)).save(path)
    steps = [
        {"type": "LoadVideo", "num_frames": 1, "backend": {"type": "image"}},
        {"type": "VideoResize", "size": 16},
        {"type": "CleanQuestion", "max_words": 2},
        {"type": "PackInputs"},
    ]
    pipeline = [{**step, "type": f"uniadapter.{step['type']}"} for step in steps]
    item = build(root, QUESTIONS, ANNOTATIONS, pipeline=pipeline)[1]
    assert item["inputs"].shape == (1, 3, 16, 16)
    sample = item["data_samples"]
    assert (sample.text, sample.question, sample.question_id) == ("is it", "Is it red?", 9001)
    assert sample.captions() == ["is it"]
    assert list(sample.answers) == ["yes", "no"]
    (root / "images/train2014/COCO_train2014_000000000009.jpg").write_text("text")
    options = {"pipeline": pipeline, "test_mode": True, "on_error": "skip"}
    skipped = build(root, QUESTIONS, ANNOTATIONS, **options)[0]
    assert skipped["inputs"] is None
    assert skipped["data_samples"].question_id == 9000
    assert len(skipped["data_samples"].gt_answers) == 10


@pytest.mark.parametrize(
    ("outside", "left", "line"),
    [("keep", 3, "2 answers are not in the answer_list of 2; 1 of 3"), ("drop", 2, "left out")],
)
def test_answers_outside_the_list(
    root: Path, logged: list[str], outside: str, left: int, line: str
) -> None:
    dataset = build(root, QUESTIONS, ANNOTATIONS, answer_list=["cat", "yes"], outside=outside)
    assert len(dataset) == left
    assert any(line in text for text in logged)
    if outside == "drop":
        yes = dataset.get_data_info(1)
        assert (yes["answers"], yes["answer_weights"]) == (["yes"], [pytest.approx(0.7)])


@pytest.mark.parametrize("outside", ["keep", "drop", "raise"])
@pytest.mark.parametrize("listed", [["yes", "no"], ["YES", "No"], None])
def test_spellings_of_one_answer_share_its_weight(
    root: Path, logged: list[str], outside: str, listed: list[str] | None
) -> None:
    questions = {**QUESTIONS, "questions": QUESTIONS["questions"][:1]}
    given = ["Yes", "yes", "YES", "yes ", "no"]
    entry = annotation(questions["questions"][0]["question_id"], given)
    options = {"answer_list": listed, "outside": outside} if listed else {}
    item = infos(build(root, questions, {"annotations": [entry]}, **options))[0]
    # As the list spells it, else as most annotators did.
    assert item["answers"] == (listed or ["yes", "no"])
    assert item["answer_weights"] == [pytest.approx(0.8), pytest.approx(0.2)]
    assert logged == []


def test_a_list_with_one_answer_twice_is_refused(root: Path) -> None:
    with pytest.raises(ValueError, match=r"\[0\]='yes' and \[1\]='Yes' have the same tokens"):
        build(root, QUESTIONS, ANNOTATIONS, answer_list=["yes", "Yes"])


def test_answers_outside_the_list_are_counted_in_testing(root: Path, logged: list[str]) -> None:
    dataset = build(root, QUESTIONS, ANNOTATIONS, answer_list=["cat"], test_mode=True)
    assert len(dataset) == 3
    assert "2 of 3 questions have no other answer" in logged[0]


def changed(content: dict, key: str, index: int, **fields: Any) -> dict:
    entries = [dict(entry) for entry in content[key]]
    for name, value in fields.items():
        if value is None:
            del entries[index][name]
        else:
            entries[index][name] = value
    return {**content, key: entries}


EMPTY = annotation(9000, [])
BLANK = annotation(9000, ["", " "])


@pytest.mark.parametrize(
    ("questions", "annotations", "options", "message"),
    [
        (QUESTIONS, None, {}, r"q\.json: training needs answers; set ann_file"),
        ({"questions": []}, ANNOTATIONS, {}, r"q\.json: key 'data_subtype' is missing"),
        ({"questions": [], "data_subtype": "x"}, {"annotations": []}, {}, "zero-length split"),
        ({"items": []}, ANNOTATIONS, {}, r"q\.json: a list under the key 'questions'"),
        (QUESTIONS, {"items": []}, {}, r"a\.json: a list under the key 'annotations'"),
        (
            changed(QUESTIONS, "questions", 1, question=None),
            ANNOTATIONS,
            {},
            r"q\.json: questions\[1\]: key 'question' is missing",
        ),
        (
            changed(QUESTIONS, "questions", 1, image_id="a"),
            ANNOTATIONS,
            {},
            r"questions\[1\]: 'image_id' must be a whole number, got 'a'",
        ),
        (
            changed(QUESTIONS, "questions", 1, image_id=None),
            ANNOTATIONS,
            {},
            r"questions\[1\]: key 'image_id' is missing",
        ),
        (
            changed(QUESTIONS, "questions", 2, question_id=5),
            ANNOTATIONS,
            {},
            r"questions\[2\]: question_id 5 has no annotation in .*a\.json",
        ),
        (
            changed(QUESTIONS, "questions", 2, question_id=9000),
            ANNOTATIONS,
            {"test_mode": True},
            r"questions\[2\]: question_id 9000 has no annotation",
        ),
        (
            {**QUESTIONS, "questions": QUESTIONS["questions"][:2]},
            ANNOTATIONS,
            {},
            r"a\.json: 1 annotations are of no question in .*q\.json, such as question_id 25000",
        ),
        (
            QUESTIONS,
            {"annotations": [*ANNOTATIONS["annotations"], ANNOTATIONS["annotations"][0]]},
            {},
            r"annotations\[3\]: question_id 25000 stands in the file twice",
        ),
        (
            QUESTIONS,
            {"annotations": [*ANNOTATIONS["annotations"][:2], EMPTY]},
            {},
            r"annotations\[2\]: key 'answers' of question 9000 must be a list of at least one",
        ),
        (
            QUESTIONS,
            {"annotations": [*ANNOTATIONS["annotations"][:2], BLANK]},
            {},
            r"questions\[0\]: question 9000 has no answer to train on",
        ),
        (
            QUESTIONS,
            changed(ANNOTATIONS, "annotations", 0, answers=[{"text": "2"}]),
            {},
            r"annotations\[0\]: every item of 'answers' of question 25000 needs a text",
        ),
        (
            QUESTIONS,
            changed(ANNOTATIONS, "annotations", 0, answer_type=None),
            {},
            r"annotations\[0\]: key 'answer_type' is missing",
        ),
        (
            QUESTIONS,
            ANNOTATIONS,
            {"answer_list": ["cat", "2", "yes"], "outside": "raise"},
            r"questions\[1\]: answer 'no' of question 9001 is not in the answer_list",
        ),
        (
            QUESTIONS,
            ANNOTATIONS,
            {"answer_list": ["x"], "outside": "drop"},
            "no question with an answer of the answer_list was found",
        ),
        (QUESTIONS, ANNOTATIONS, {"answer_list": []}, "at least one answer"),
        (QUESTIONS, ANNOTATIONS, {"outside": "drop"}, "outside='drop' needs an answer_list"),
        (QUESTIONS, ANNOTATIONS, {"outside": "skip"}, "outside must be one of"),
        (QUESTIONS, ANNOTATIONS, {"vg_weight": 0}, "vg_weight must be positive"),
        (QUESTIONS, ANNOTATIONS, {"ann_file": ["a.json", "b.json"]}, "2 annotation files beside 1"),
        (QUESTIONS, None, {"question_file": ""}, "question_file is empty"),
        (BLIP, ANNOTATIONS, {}, "BLIP's files bring their answers"),
        ([{**BLIP[0], "answer": []}], None, {}, "entry 0: 'answer' is an empty list"),
        ([BLIP[0], BLIP[0]], None, {}, "entry 1: question_id 7 stands at .*entry 0 too"),
        (
            [{"question": "x", "image": "a", "question_id": 1}],
            None,
            {},
            "entry 0: question 1 has no answer to train on",
        ),
        ([{"question": "x", "image": "a"}], None, {}, "entry 0: key 'question_id' is missing"),
    ],
)
def test_bad_annotations(
    root: Path, questions: Any, annotations: Any, options: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build(root, questions, annotations, **options)


@pytest.mark.parametrize("name", ["question_file", "ann_file", "vg_file", "answer_list"])
def test_missing_files(root: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.json"):
        build(root, QUESTIONS, ANNOTATIONS, **{name: "gone.json"})


def test_pairs_of_visual_genome_need_their_folder(root: Path) -> None:
    (root / "q.json").write_text(json.dumps(BLIP))
    with pytest.raises(ValueError, match=r"q\.json: data_prefix\['vg'\] is missing"):
        VQAv2("q.json", data_root=str(root), data_prefix={"media": "images"})
