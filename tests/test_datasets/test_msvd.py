from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import load_tool
from uniadapter.datasets import MSVDRetrieval

CAPTIONS = {
    "mv89psg6zh4_33_46": [["a", "bird", "is", "bathing"], ["a", "bird", "in", "a", "sink"]],
    "vid1": [["two", "men"]],
    "vid2": [["a", "dog"], ["the", "dog", "runs"], ["a", "dog"]],
    "unused": [["x"]],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "videos").mkdir()
    for name in ("mv89psg6zh4_33_46.avi", "vid1.mp4", "vid2.avi"):
        (tmp_path / "videos" / name).touch()
    (tmp_path / "raw-captions.pkl").write_bytes(pickle.dumps(CAPTIONS, 2))
    (tmp_path / "train_list.txt").write_text("vid2\nmv89psg6zh4_33_46\n\n")
    (tmp_path / "test_list.txt").write_text("vid2\r\nvid1")
    load_tool("dataset_converters/msvd_captions.py").main([str(tmp_path / "raw-captions.pkl")])
    return tmp_path


def build(root: Path, split: str = "train_list.txt", **options: Any) -> MSVDRetrieval:
    options = {"ann_file": "raw-captions.json", "data_prefix": {"media": "videos"}, **options}
    return MSVDRetrieval(split_file=split, data_root=str(root), **options)


def test_every_caption_is_a_sample(root: Path) -> None:
    dataset = build(root)
    found = [dataset.get_data_info(index) for index in range(len(dataset))]
    assert [(item["video_id"], item["text"], item["media_id"]) for item in found] == [
        ("vid2", "a dog", 0),
        ("vid2", "the dog runs", 0),
        ("vid2", "a dog", 0),
        ("mv89psg6zh4_33_46", "a bird is bathing", 1),
        ("mv89psg6zh4_33_46", "a bird in a sink", 1),
    ]
    assert found[0]["media_path"].endswith("vid2.avi")


def test_a_test_video_has_all_its_captions(root: Path) -> None:
    dataset = build(root, "test_list.txt", test_mode=True)
    found = [dataset.get_data_info(index) for index in range(len(dataset))]
    assert [item["texts"] for item in found] == [["a dog", "the dog runs", "a dog"], ["two men"]]


def test_errors_name_file_and_line(root: Path) -> None:
    (root / "train_list.txt").write_text("vid1\nother\n")
    with pytest.raises(ValueError, match=r"train_list\.txt: line 2: 'other' has no captions"):
        build(root)
    (root / "train_list.txt").write_text("vid1\nvid2\nvid1\n")
    with pytest.raises(ValueError, match="'vid1' stands in line 1 and in line 3"):
        build(root)
    (root / "train_list.txt").write_text("\n")
    with pytest.raises(ValueError, match="no caption was found"):
        build(root)
    with pytest.raises(ValueError, match=r"msvd_captions\.py"):
        build(root, ann_file="raw-captions.pkl")
    with pytest.raises(FileNotFoundError, match="split_file"):
        build(root, "none.txt")
    (root / "raw-captions.json").write_text("[]")
    with pytest.raises(ValueError, match="object of captions"):
        build(root)


def test_the_converter(root: Path, capsys: Any) -> None:
    written = json.loads((root / "raw-captions.json").read_text())
    assert written == {name: [" ".join(c) for c in texts] for name, texts in CAPTIONS.items()}
    tool = load_tool("dataset_converters/msvd_captions.py")
    file = root / "other.pkl"
    # Strings of Python 2 come as bytes.
    file.write_bytes(pickle.dumps({b"v": [[b"caf\xc3\xa9", "b"], []]}))
    tool.main([str(file), str(root / "out.json")])
    assert json.loads((root / "out.json").read_text()) == {"v": ["café b"]}
    assert "1 captions without a word" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([], "dictionary of captions"),
        ({}, "dictionary of captions"),
        ({"v": "a dog"}, "'v': a list of captions"),
        ({"v": ["a dog"]}, "'v': caption 0 is no list of words"),
        ({"v": [["a", 1]]}, "a word is a string, got int"),
        ({"v": [[]]}, "'v' has no caption"),
        ({b"\xff": [["a"]]}, "no UTF-8"),
        ({"v": [["a"]], b"v": [["b"]]}, "stands twice"),
    ],
)
def test_other_pickles(content: Any, match: str, tmp_path: Path) -> None:
    file = tmp_path / "f.pkl"
    file.write_bytes(pickle.dumps(content))
    tool = load_tool("dataset_converters/msvd_captions.py")
    with pytest.raises(SystemExit, match=match) as error:
        tool.main([str(file)])
    assert str(file) in str(error.value)
    assert not file.with_suffix(".json").exists()
