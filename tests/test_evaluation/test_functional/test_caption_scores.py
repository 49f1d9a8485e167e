from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable

import pytest

from tests.test_evaluation.record_java_reference import SCORES
from uniadapter.evaluation.functional import score_captions
from uniadapter.evaluation.functional.caption_scores import check_caption_tools

REFERENCES = {1: ["A man rides a horse.", "a man on a horse"], 2: ["Two dogs"], 3: ["a red bus"]}
PREDICTIONS = {1: "a man rides a horse", 2: "two dogs!", 3: "A red bus"}


def test_scores_of_the_java_tokenizer() -> None:
    java = json.loads(SCORES.read_text(encoding="utf-8"))
    references = {row["image_id"]: row["references"] for row in java["rows"]}
    predictions = {row["image_id"]: row["prediction"] for row in java["rows"]}
    scores = score_captions(references, predictions)
    assert list(scores) == ["Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "ROUGE_L", "CIDEr"]
    assert scores == pytest.approx(java["scores"], abs=1e-6)


def test_right_captions() -> None:
    scores = score_captions(REFERENCES, PREDICTIONS)
    assert scores["Bleu_1"] == pytest.approx(100, abs=1e-4)
    assert scores["ROUGE_L"] == pytest.approx(100)
    assert scores["CIDEr"] > 100


def test_bleu_by_hand() -> None:
    # Two of three words are right, and one of two pairs; the reference is one word longer.
    scores = score_captions({1: ["a red big bus"]}, {1: "a red car"}, scores=["Bleu"])
    brevity = 2.718281828 ** (1 - 4 / 3)
    assert scores["Bleu_1"] == pytest.approx(100 * brevity * 2 / 3, abs=1e-4)
    assert scores["Bleu_2"] == pytest.approx(100 * brevity * (2 / 3 / 2) ** 0.5, abs=1e-4)


def test_empty_caption_scores_nothing() -> None:
    whole = score_captions(REFERENCES, PREDICTIONS)
    scores = score_captions(REFERENCES, {**PREDICTIONS, 3: ""})
    assert scores["ROUGE_L"] == pytest.approx(whole["ROUGE_L"] * 2 / 3)
    assert scores["CIDEr"] < whole["CIDEr"]
    nothing = score_captions(REFERENCES, dict.fromkeys(REFERENCES, ""))
    assert nothing == pytest.approx(dict.fromkeys(whole, 0.0), abs=1e-4)


def test_one_image_has_no_cider() -> None:
    assert score_captions({1: ["a cat"]}, {1: "a cat"}, scores=["CIDEr"]) == {"CIDEr": 0.0}


@pytest.mark.parametrize(
    ("references", "predictions", "message"),
    [
        ({}, {}, "no captions to score"),
        ({1: ["a"]}, {2: "a"}, "differ in 2 images, such as"),
        ({1: []}, {1: "a"}, "image 1 has no reference caption"),
        ({1: ["."]}, {1: "a"}, "no reference caption has a word"),
    ],
)
def test_bad_captions(references: dict, predictions: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score_captions(references, predictions)


@pytest.mark.parametrize("scores", [(), ("Blue",), "Bleu"])
def test_unknown_scores(scores: object) -> None:
    with pytest.raises(ValueError, match="scores must be some of"):
        check_caption_tools(scores)  # type: ignore[arg-type]


def test_unknown_tokenizer() -> None:
    with pytest.raises(ValueError, match="tokenizer must be 'python' or 'java'"):
        check_caption_tools(tokenizer="perl")


def _refuse(name: str) -> Callable:
    real = importlib.import_module

    def import_module(module: str) -> object:
        if module.startswith(name):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(module)

    return import_module


def test_missing_package_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib, "import_module", _refuse("pycocoevalcap"))
    with pytest.raises(ModuleNotFoundError, match="pip install pycocoevalcap"):
        check_caption_tools()


def test_missing_java_and_missing_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(FileNotFoundError, match="METEOR, tokenizer='java' need Java"):
        check_caption_tools(["METEOR"], "java")
    check_caption_tools()
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/java")
    module = "uniadapter.evaluation.functional.caption_scores._SPICE_MODELS"
    monkeypatch.setattr(module, "not-there.jar")
    with pytest.raises(FileNotFoundError, match=r"get_stanford_models`, or leave SPICE out"):
        check_caption_tools(["SPICE"])


class _Line:
    """Stands for pycocoevalcap's tokenizer: one line a caption, unless lines are lost."""

    lost = 0

    def tokenize(self, captions: dict) -> dict:
        rows = {k: [row["caption"] for row in rows] for k, rows in captions.items()}
        texts = [text for part in rows.values() for text in part]
        assert all(text.strip() and text.splitlines() == [text] for text in texts)
        return dict(list(rows.items())[self.lost :])


def test_captions_stay_on_their_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("pycocoevalcap.tokenizer.ptbtokenizer")
    monkeypatch.setattr(module, "PTBTokenizer", _Line)
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/java")
    predictions = {1: "a\rb\u2028c", 2: "", 3: "d\n"}
    score_captions(REFERENCES, predictions, tokenizer="java")
    monkeypatch.setattr(_Line, "lost", 1)
    with pytest.raises(RuntimeError, match="another number of lines"):
        score_captions(REFERENCES, predictions, tokenizer="java")
