"""What the package easy-vqa ships: loader, vocabulary and metric of its configs."""

from __future__ import annotations

import json
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from tests.helpers import ROOT
from uniadapter.datasets import EasyVQA
from uniadapter.datasets.transforms.text import clean_question
from uniadapter.evaluation import QAExactMatch
from uniadapter.models.tokenizer import BertTokenizer

CONFIG = Config.fromfile(str(ROOT / "configs/easy_vqa/r64.py"))
ANSWERS = list(CONFIG.model.answer_list)
SHAPES = {"circle", "rectangle", "triangle"}
installed = pytest.mark.skipif(
    find_spec("easy_vqa") is None, reason="the data are not here: pip install easy-vqa"
)


@pytest.fixture(scope="module")
def items() -> dict[str, list[dict[str, Any]]]:
    """All questions of both splits with their answers."""
    found = {}
    for split in ("train", "test"):
        dataset = EasyVQA(split, test_mode=True)
        found[split] = [dataset.get_data_info(index) for index in range(len(dataset))]
    return found


@pytest.fixture(scope="module")
def tokenizer() -> BertTokenizer:
    return BertTokenizer(str(ROOT / CONFIG.model.data_preprocessor.tokenizer.vocab_file))


def kind_of(answer: str) -> str:
    """Kind of question that an answer belongs to."""
    if answer in ("yes", "no"):
        return "yes/no"
    return "shape" if answer in SHAPES else "color"


@installed
def test_the_splits_are_complete(items: dict[str, list[dict[str, Any]]]) -> None:
    sizes = {split: len(questions) for split, questions in items.items()}
    assert sizes == {"train": 38575, "test": 9673}
    media = {split: len({item["media_id"] for item in items[split]}) for split in items}
    assert media == {"train": 4000, "test": 1000}


@installed
@pytest.mark.parametrize("split", ["train", "test"])
def test_the_answer_list_is_that_of_the_data(
    items: dict[str, list[dict[str, Any]]], split: str
) -> None:
    given = {answer for item in items[split] for answer in item["gt_answers"]}
    assert len(ANSWERS) == 13
    assert given == set(ANSWERS)


@installed
@pytest.mark.parametrize("split", ["train", "test"])
def test_words_tell_what_is_asked_for(items: dict[str, list[dict[str, Any]]], split: str) -> None:
    for item in items[split]:
        assert item["question_type"] == kind_of(item["gt_answers"][0]), item["question"]


@installed
def test_every_word_is_one_of_the_vocabulary(
    items: dict[str, list[dict[str, Any]]], tokenizer: BertTokenizer
) -> None:
    """Neither unknown nor in pieces: a question of n words and marks has n + 2 tokens."""
    questions = sorted({item["question"] for split in items.values() for item in split})
    cleaned = [clean_question(question, 30) for question in questions]
    ids, mask = tokenizer(cleaned, CONFIG.model.data_preprocessor.max_text_len)
    assert not (ids == tokenizer.unk_token_id).any()
    lengths = [len(text.replace("?", " ?").split()) + 2 for text in cleaned]
    assert mask.sum(1).tolist() == lengths


def test_an_answer_is_one_word(tokenizer: BertTokenizer) -> None:
    """An answer in pieces is a product of more probabilities, and loses the ranking for it."""
    ids, mask = tokenizer(ANSWERS, None)
    assert not (ids == tokenizer.unk_token_id).any()
    assert mask.sum(1).tolist() == [3] * 13


def test_the_vocabulary_fits_the_backbone() -> None:
    """The small vocabulary line by line, but for digits, which no caption of a still has."""
    small = (ROOT / "configs/tiny/vocab.txt").read_text().split()
    own = (ROOT / "configs/easy_vqa/vocab.txt").read_text().split()
    assert len(own) == len(small) == CONFIG.model.text.vocab_size - 2
    replaced = [word for word, new in zip(small, own, strict=True) if word != new]
    assert replaced == list("01234567")
    assert len(set(own)) == len(own)


def score(questions: list[dict[str, Any]], predictions: list[str]) -> dict[str, float]:
    """Metrics of predictions."""
    metric = QAExactMatch()
    samples = [
        {**item, "pred_answer": prediction}
        for item, prediction in zip(questions, predictions, strict=True)
    ]
    metric.process(None, samples)
    return metric.compute_metrics(metric.results)


@installed
def test_the_truth_scores_100_percent(items: dict[str, list[dict[str, Any]]]) -> None:
    questions = items["test"]
    right = score(questions, [item["gt_answers"][0] for item in questions])
    kinds = ("color", "shape", "yes_no")
    assert right == {"accuracy": 100.0, **{f"question_type/{kind}": 100.0 for kind in kinds}}


@installed
def test_a_question_s_most_frequent_answer_scores_two_thirds(
    items: dict[str, list[dict[str, Any]]],
) -> None:
    """What training says without a look at the picture, as docs/easy_vqa.md says."""
    counts: dict[str, Counter[str]] = {}
    for item in items["train"]:
        counts.setdefault(item["question"], Counter())[item["gt_answers"][0]] += 1
    blind = [counts[item["question"]].most_common(1)[0][0] for item in items["test"]]
    assert score(items["test"], blind)["accuracy"] == pytest.approx(67.0, abs=0.05)


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("What color is the circle?", "color"),
        ("what is the color of the shape?", "color"),
        ("what is the blue shape?", "shape"),
        ("is there a color?", "yes/no"),
    ],
)
def test_types(tmp_path: Path, question: str, kind: str) -> None:
    (tmp_path / "test" / "images").mkdir(parents=True)
    (tmp_path / "test" / "images" / "0.png").touch()
    (tmp_path / "test" / "questions.json").write_text(json.dumps([[question, "x", 0]]))
    item = EasyVQA("test", str(tmp_path), test_mode=True).get_data_info(0)
    assert item["question_type"] == kind
