"""easy-VQA in the layout of its package."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from uniadapter.datasets import EasyVQA

CONTENT = [["what shape is it?", "circle", 0], ["is it red?", "no", 1], ["is it red?", "yes", 0]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split in ("train", "test"):
        (tmp_path / split / "images").mkdir(parents=True)
        for number in range(2):
            picture = Image.fromarray(np.full((64, 64, 3), 99, np.uint8))
            picture.save(tmp_path / split / "images" / f"{number}.png")
        (tmp_path / split / "questions.json").write_text(json.dumps(CONTENT))
    return tmp_path


def test_items(root: Path) -> None:
    train, test = (EasyVQA(s, str(root), test_mode=s == "test") for s in ("train", "test"))
    first, second, third = (train.get_data_info(i) for i in range(3))
    assert [first["question_id"], second["question_id"], third["question_id"]] == [0, 1, 2]
    assert [first["media_id"], second["media_id"], third["media_id"]] == [0, 1, 0]
    assert third["answers"] == ["yes"]
    assert second["media_path"] == str(root / "train" / "images" / "1.png")
    assert test.get_data_info(1)["gt_answers"] == ["no"]
    assert "test/images" in test.get_data_info(1)["media_path"]


def test_the_installed_package_is_found(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = root / "easy_vqa"
    package.mkdir()
    (root / "train").rename(package / "train")
    (package / "train").rename(root / "moved")
    (package / "data").mkdir()
    (root / "moved").rename(package / "data" / "train")
    spec = SimpleNamespace(origin=str(package / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    assert len(EasyVQA("train")) == 3


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install easy-vqa"):
        EasyVQA("train")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "zero-length split"),
        ([["what?", "a"]], r"entry 0: \[question, answer, image\] is expected"),
        ([["what?", "a", "0"]], "entry 0: the number of an image is expected, got '0'"),
        ([["what?", "", 0]], "entry 0: 'answer' is empty"),
        ([["", "a", 0]], "entry 0: 'question' is empty"),
    ],
)
def test_bad_annotations(root: Path, content: Any, message: str) -> None:
    (root / "train" / "questions.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"questions\.json.*" + message):
        EasyVQA("train", str(root))


def test_unknown_split(root: Path) -> None:
    with pytest.raises(ValueError, match="split must be one of"):
        EasyVQA("val", str(root))
