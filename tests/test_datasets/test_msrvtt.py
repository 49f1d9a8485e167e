from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from uniadapter.datasets import MSRVTTRetrieval

HEADER = "key,vid_key,video_id,sentence\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The published layout: four videos with two captions each, three of them in the split."""
    (tmp_path / "videos").mkdir()
    for index in range(4):
        (tmp_path / "videos" / f"video{index}.mp4").touch()
    content = {
        "info": {},
        "videos": [{"video_id": f"video{i}", "split": "train", "id": i} for i in range(4)],
        "sentences": [
            {"caption": f"caption {k} of {i}", "video_id": f"video{i}", "sen_id": 2 * i + k}
            for k in range(2)
            for i in range(4)
        ],
    }
    (tmp_path / "MSRVTT_data.json").write_text(json.dumps(content))
    (tmp_path / "train.csv").write_text("video_id\nvideo2\nvideo0\nvideo3\n")
    (tmp_path / "test.csv").write_text(
        HEADER + 'ret0,msr1,video1,"a man, a plan"\nret1,msr0,video0,hello\n'
    )
    return tmp_path


def build(root: Path, split: str = "train.csv", **options: Any) -> MSRVTTRetrieval:
    options = {"ann_file": "MSRVTT_data.json", "data_prefix": {"media": "videos"}, **options}
    return MSRVTTRetrieval(split_file=split, data_root=str(root), **options)


def items(dataset: MSRVTTRetrieval) -> list[dict]:
    return [dataset.get_data_info(index) for index in range(len(dataset))]


def test_training_has_an_item_a_caption(root: Path) -> None:
    found = items(build(root))
    assert [(item["video_id"], item["text"], item["media_id"]) for item in found] == [
        ("video2", "caption 0 of 2", 0),
        ("video2", "caption 1 of 2", 0),
        ("video0", "caption 0 of 0", 1),
        ("video0", "caption 1 of 0", 1),
        ("video3", "caption 0 of 3", 2),
        ("video3", "caption 1 of 3", 2),
    ]
    assert found[0]["media_path"] == str(root / "videos" / "video2.mp4")
    assert [item["sample_idx"] for item in found] == list(range(6))


def test_test_file_brings_its_own_captions(root: Path) -> None:
    found = items(build(root, "test.csv", test_mode=True, ann_file=""))
    assert [(item["video_id"], item["texts"], item["media_id"]) for item in found] == [
        ("video1", ["a man, a plan"], 0),
        ("video0", ["hello"], 1),
    ]


def test_test_split_without_sentences_takes_all_published_ones(root: Path) -> None:
    found = items(build(root, test_mode=True))
    assert found[1]["texts"] == ["caption 0 of 0", "caption 1 of 0"]


def test_several_captions_of_a_test_video_are_one_item(root: Path) -> None:
    with (root / "test.csv").open("a") as file:
        file.write("ret2,msr1,video1,another\n")
    found = items(build(root, "test.csv", test_mode=True))
    assert [item["texts"] for item in found] == [["a man, a plan", "another"], ["hello"]]


def test_repeated_rows_are_used_once(root: Path) -> None:
    with (root / "test.csv").open("a") as file:
        file.write("ret2,msr0,video0,hello\n")
    assert [i["texts"] for i in items(build(root, "test.csv", test_mode=True))][1] == ["hello"]
    with (root / "train.csv").open("a") as file:
        file.write("video2\n")
    assert len(build(root)) == 6


def test_byte_order_mark_crlf_and_blank_lines(root: Path) -> None:
    (root / "train.csv").write_bytes(b"\xef\xbb\xbfvideo_id\r\nvideo2\r\n\r\nvideo0\r\n")
    assert len(build(root)) == 4
    data = (root / "MSRVTT_data.json").read_bytes()
    (root / "MSRVTT_data.json").write_bytes(b"\xef\xbb\xbf" + data)
    assert len(build(root)) == 4


def test_absolute_split_file(root: Path) -> None:
    assert len(build(root, str(root / "train.csv"))) == 6


@pytest.mark.parametrize(
    ("split", "text", "message"),
    [
        ("train.csv", "video_id\n", r"train\.csv: zero-length split"),
        ("train.csv", "", r"train\.csv: column 'video_id' is missing"),
        ("train.csv", "vid\nvideo0\n", r"train\.csv: column 'video_id' is missing"),
        ("train.csv", "video_id\nvideo0\nvideo9\n", r"train\.csv: line 3: video_id 'video9'"),
        ("train.csv", "video_id,x\nvideo0,1\n ,2\n", r"train\.csv: line 3: 'video_id' is empty"),
        ("test.csv", HEADER + "a,b,video0, \n", r"test\.csv: line 2: 'sentence' is empty"),
        ("test.csv", HEADER + "a,b,video0\n", r"test\.csv: line 2: no value for column 'sentence'"),
        ("test.csv", HEADER + "a,b,video0,a man, a plan\n", r"test\.csv: line 2: more fields"),
    ],
)
def test_bad_split_file(root: Path, split: str, text: str, message: str) -> None:
    (root / split).write_text(text)
    with pytest.raises(ValueError, match=message):
        build(root, split, test_mode=split == "test.csv")


def test_split_file_in_another_encoding(root: Path) -> None:
    (root / "train.csv").write_bytes("video_id\nvidéo\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"train\.csv: not UTF-8"):
        build(root)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"videos": []}, "list under the key 'sentences'"),
        ([1], "list under the key 'sentences'"),
        ({"sentences": [{"caption": "a"}]}, r"sentences\[0\]: key 'video_id' is missing"),
        ({"sentences": [{"video_id": "video0"}]}, r"sentences\[0\]: key 'caption' is missing"),
        ({"sentences": [{"video_id": "v", "caption": " "}]}, r"\[0\]: 'caption' is empty"),
        ({"sentences": [{"video_id": "v", "caption": 3}]}, r"\[0\]: 'caption' must be a string"),
        ({"sentences": ["video0"]}, r"sentences\[0\]: an object is expected"),
    ],
)
def test_bad_annotations(root: Path, content: Any, message: str) -> None:
    (root / "MSRVTT_data.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message) as caught:
        build(root)
    assert "MSRVTT_data.json" in str(caught.value)


def test_annotations_that_are_cut_short(root: Path) -> None:
    path = root / "MSRVTT_data.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ValueError, match=r"MSRVTT_data\.json: line 1: not valid JSON"):
        build(root)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "none.csv"}, "split_file = .*none.csv' does not exist"),
        ({"ann_file": "none.json"}, "ann_file = .*none.json' does not exist"),
        ({"data_prefix": {"media": "clips"}}, "is not a folder"),
    ],
)
def test_missing_files(root: Path, options: dict, message: str) -> None:
    with pytest.raises(FileNotFoundError, match=message):
        build(root, **options)


@pytest.mark.parametrize(
    ("split", "key"), [("", "split_file is empty"), ("train.csv", "ann_file is empty")]
)
def test_no_file_named(root: Path, split: str, key: str) -> None:
    with pytest.raises(ValueError, match=key):
        build(root, split, ann_file="")
