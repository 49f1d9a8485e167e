from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from uniadapter.datasets import DiDeMoRetrieval


def entry(video: str, description: str, number: int = 0) -> dict:
    """One entry of the published files, with the keys they have."""
    return {
        "annotation_id": number,
        "video": video,
        "description": description,
        "times": [[0, 1], [0, 0]],
        "num_segments": 6,
        "dl_link": "",
        "reference_description": "",
        "context": "",
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "videos").mkdir()
    for name in ("1@N0_a.mp4", "2@N0_b.avi", "3@N0_c"):
        (tmp_path / "videos" / name).touch()
    return tmp_path


def build(root: Path, content: Any, **options: Any) -> DiDeMoRetrieval:
    (root / "data.json").write_text(json.dumps(content))
    return DiDeMoRetrieval(
        ann_file="data.json", data_root=str(root), data_prefix={"media": "videos"}, **options
    )


CONTENT = [
    entry("1@N0_a.mov", "first of one"),
    entry("2@N0_b", "only one of two"),
    entry("1@N0_a.mov", " second of one "),
    entry("3@N0_c", "three"),
    entry("4@N0_d.mov", "four"),
]


@pytest.mark.parametrize("test_mode", [False, True])
def test_sentences_of_a_video_are_one_paragraph(root: Path, test_mode: bool) -> None:
    dataset = build(root, CONTENT, test_mode=test_mode)
    assert len(dataset) == 4
    info = dataset.get_data_info(0)
    paragraph = "first of one second of one"
    assert (info["texts"] if test_mode else [info["text"]]) == [paragraph]
    assert info["video_id"] == "1@N0_a.mov"


def test_files_are_found_with_another_or_no_extension(root: Path) -> None:
    paths = [Path(medium["media_path"]).name for medium in build(root, CONTENT).media()]
    # The last one does not exist: the name to look for is the published one.
    assert paths == ["1@N0_a.mp4", "2@N0_b.avi", "3@N0_c", "4@N0_d.mov"]


def test_order_of_extensions_decides(root: Path) -> None:
    (root / "videos" / "2@N0_b.mp4").touch()
    content = [entry("2@N0_b", "two")]
    found = build(root, content, extensions=[".avi", ".mp4"]).media()
    assert found[0]["media_path"].endswith(".avi")
    assert build(root, content).media()[0]["media_path"].endswith(".mp4")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "zero-length split"),
        ({"video": "x"}, "a list of entries is expected"),
        ([entry("a", "x"), {"video": "a"}], "entry 1: key 'description' is missing"),
        ([entry("a", "x"), entry("a", "")], "entry 1: 'description' is empty"),
        ([entry("", "x")], "entry 0: 'video' is empty"),
    ],
)
def test_bad_annotations(root: Path, content: Any, message: str) -> None:
    with pytest.raises(ValueError, match=r"data\.json.*" + message):
        build(root, content)
