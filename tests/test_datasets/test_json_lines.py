from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from uniadapter.datasets import RetrievalJsonDataset


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "cat.png")
    (tmp_path / "sub" / "dog.mp4").touch()
    return tmp_path


def build(root: Path, text: str, test_mode: bool = False) -> RetrievalJsonDataset:
    (root / "own.jsonl").write_text(text)
    return RetrievalJsonDataset(ann_file="own.jsonl", data_root=str(root), test_mode=test_mode)


LINES = (
    '{"media": "cat.png", "texts": ["a cat", "an animal"], "license": "mine"}\n'
    "\n"
    '{"media": "sub/dog", "text": "a dog"}\n'
    '{"media": "cat.png", "text": "a pet"}\n'
)


def test_training(root: Path) -> None:
    dataset = build(root, LINES)
    assert [dataset.get_data_info(i)["text"] for i in range(4)] == [
        "a cat",
        "an animal",
        "a dog",
        "a pet",
    ]
    assert [dataset.get_data_info(i)["media_id"] for i in range(4)] == [0, 0, 1, 0]
    assert dataset.get_data_info(2)["media_path"] == str(root / "sub" / "dog.mp4")


def test_testing_merges_the_captions(root: Path) -> None:
    dataset = build(root, LINES, test_mode=True)
    assert [dataset.get_data_info(i)["texts"] for i in range(2)] == [
        ["a cat", "an animal", "a pet"],
        ["a dog"],
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "zero-length split"),
        ('{"media": "a", "text": "x"}\n{"media": \n', "line 2: not valid JSON"),
        ('["a", "x"]', "line 1: an object is expected"),
        ('{"text": "x"}', "line 1: key 'media' is missing"),
        ('{"media": "a"}', "line 1: exactly one of the keys"),
        ('{"media": "a", "text": "x", "texts": ["y"]}', "line 1: exactly one of the keys"),
        ('{"media": "a", "texts": []}', "line 1: 'texts' must be a list"),
        ('{"media": "a", "texts": "x"}', "line 1: 'texts' must be a list"),
        ('{"media": "a", "texts": ["x", ""]}', "line 1: item 1: 'texts' is empty"),
        ('{"media": "a", "text": ""}', "line 1: 'text' is empty"),
    ],
)
def test_bad_lines(root: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"own\.jsonl: " + message):
        build(root, text)
