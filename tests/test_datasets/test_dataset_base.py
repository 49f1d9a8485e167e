from __future__ import annotations

import copy
import json
import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from uniadapter.datasets import MediaError, RetrievalJsonDataset
from uniadapter.registry import DATASETS

PIPELINE = [
    {"type": "LoadVideo", "num_frames": 2, "sampling": "random"},
    {"type": "VideoRandomResizedCrop", "size": 16},
    {"type": "VideoFlip"},
    {"type": "CleanCaption"},
    {"type": "PackInputs"},
]


def build(folder: Path, tmp_path: Path, names: list[str], **options: Any) -> RetrievalJsonDataset:
    lines = [json.dumps({"media": name, "text": f"This is {name}."}) for name in names]
    path = tmp_path / "split.jsonl"
    path.write_text("\n".join(lines))
    config = {
        "type": "uniadapter.RetrievalJsonDataset",
        "ann_file": str(path),
        "data_prefix": {"media": str(folder)},
        "pipeline": [{**step, "type": f"uniadapter.{step['type']}"} for step in PIPELINE],
    }
    return DATASETS.build({**config, **options})


GOOD = ["video0.mp4", "video1.mp4", "video2.mp4"]


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []

    def collect(message: str, logger: Any = None, level: int = logging.INFO) -> None:
        lines.append(message)

    monkeypatch.setattr("uniadapter.datasets.base.print_log", collect)
    return lines


def test_item_of_the_whole_pipeline(video_folder: Path, tmp_path: Path) -> None:
    item = build(video_folder, tmp_path, GOOD)[1]
    assert item["inputs"].shape == (2, 3, 16, 16)
    sample = item["data_samples"]
    assert (sample.media_id, sample.text) == (1, "this is video1 mp4")
    assert (sample.replaced, sample.skipped) == ([], False)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("video3.mp4", "the file is empty"), ("video4.mp4", "truncated"), ("gone.mp4", "not exist")],
)
def test_training_replaces_and_reports_once(
    video_folder: Path, tmp_path: Path, warnings: list[str], name: str, reason: str
) -> None:
    dataset = build(video_folder, tmp_path, [*GOOD, name])
    np.random.seed(0)
    for _ in range(5):
        sample = dataset[3]["data_samples"]
        assert sample.video_id in GOOD
        assert set(sample.replaced) == {str(video_folder / name)}
    assert len(warnings) == 1
    assert str(video_folder / name) in warnings[0]
    assert reason in warnings[0]


def test_warning_comes_once_from_all_workers(
    video_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "warnings.txt"

    def append(message: str, logger: Any = None, level: int = logging.INFO) -> None:
        with log.open("a") as file:
            file.write(message + "\n")

    monkeypatch.setattr("uniadapter.datasets.base.print_log", append)
    dataset = build(video_folder, tmp_path, [*GOOD, "video3.mp4"])
    loader: DataLoader = DataLoader(dataset, batch_size=2, num_workers=1, collate_fn=pseudo_collate)
    replaced = []
    for _ in range(2):
        for batch in loader:
            replaced += [path for sample in batch["data_samples"] for path in sample.replaced]
    assert len(replaced) >= 2
    assert len(log.read_text().splitlines()) == 1


def test_training_gives_up_after_max_refetch(
    video_folder: Path, tmp_path: Path, warnings: list[str]
) -> None:
    dataset = build(video_folder, tmp_path, ["video3.mp4", "gone.mp4"], max_refetch=3)
    with pytest.raises(MediaError, match=r"4 media in a row .*max_refetch = 3.*verify_dataset"):
        dataset[0]
    assert 1 <= len(warnings) <= 2


def test_no_replacement_when_max_refetch_is_zero(video_folder: Path, tmp_path: Path) -> None:
    dataset = build(video_folder, tmp_path, [*GOOD, "gone.mp4"], max_refetch=0)
    assert dataset[0]["data_samples"].replaced == []
    with pytest.raises(MediaError, match=r"gone\.mp4"):
        dataset[3]


def test_other_errors_are_not_taken_for_unreadable_media(
    video_folder: Path, tmp_path: Path
) -> None:
    dataset = build(video_folder, tmp_path, GOOD)

    def fail(results: dict) -> dict:
        raise KeyError("a bug")

    dataset.pipeline.transforms.insert(1, fail)
    with pytest.raises(KeyError, match="a bug"):
        dataset[0]


def test_testing_names_the_file(video_folder: Path, tmp_path: Path) -> None:
    dataset = build(video_folder, tmp_path, [*GOOD, "video4.mp4"], test_mode=True)
    with pytest.raises(
        MediaError, match=r"video4\.mp4: truncated.*verify_dataset.*on_error='skip'"
    ):
        dataset[3]


def test_testing_names_the_file_from_a_worker_too(video_folder: Path, tmp_path: Path) -> None:
    dataset = build(video_folder, tmp_path, ["video3.mp4"], test_mode=True)
    loader: DataLoader = DataLoader(dataset, num_workers=1, collate_fn=pseudo_collate)
    with pytest.raises(MediaError, match=r"video3\.mp4: the file is empty"):
        next(iter(loader))


def test_testing_may_skip(video_folder: Path, tmp_path: Path, warnings: list[str]) -> None:
    names = ["video3.mp4", "video0.mp4"]
    dataset = build(video_folder, tmp_path, names, test_mode=True, on_error="skip")
    batch = pseudo_collate([dataset[0], dataset[1]])
    assert batch["inputs"][0] is None
    assert batch["inputs"][1].shape == (2, 3, 16, 16)
    skipped, kept = batch["data_samples"]
    assert (skipped.skipped, kept.skipped) == (True, False)
    assert skipped.video_id == "video3.mp4"
    assert skipped.captions() == ["This is video3.mp4."]
    assert len(warnings) == 1


def test_indices_number_the_media_anew(video_folder: Path, tmp_path: Path) -> None:
    dataset = build(video_folder, tmp_path, GOOD, indices=[2, 1])
    found = [dataset.get_data_info(i) for i in range(2)]
    assert [(info["video_id"], info["media_id"]) for info in found] == [
        ("video2.mp4", 0),
        ("video1.mp4", 1),
    ]
    assert len(build(video_folder, tmp_path, GOOD, indices=2)) == 2


def test_media_are_listed_once(video_folder: Path, tmp_path: Path) -> None:
    found = build(video_folder, tmp_path, [*GOOD, *GOOD]).media()
    assert [medium["video_id"] for medium in found] == GOOD
    assert [medium["media_id"] for medium in found] == [0, 1, 2]


def test_lazy_init(video_folder: Path, tmp_path: Path) -> None:
    dataset = build(video_folder, tmp_path, GOOD, lazy_init=True)
    assert not dataset._fully_initialized
    assert dataset[0]["inputs"].shape == (2, 3, 16, 16)
    dataset.full_init()
    assert len(dataset) == 3


def test_pickle_and_deepcopy(video_folder: Path, tmp_path: Path) -> None:
    dataset = build(video_folder, tmp_path, GOOD)
    for twin in (pickle.loads(pickle.dumps(dataset)), copy.deepcopy(dataset)):
        assert twin[2]["data_samples"].video_id == "video2.mp4"
    assert dataset.get_subset(2)[1]["data_samples"].video_id == "video1.mp4"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_error": "ignore"}, "on_error must be one of"),
        ({"max_refetch": -1}, "max_refetch must be at least 0"),
        ({"data_prefix": {"img": "x"}}, "data_prefix takes the key 'media'"),
        ({"indices": 0}, "indices = 0 leaves no item"),
        ({"indices": []}, "leaves no item"),
        ({"indices": [7]}, "indices reach beyond the 3 items"),
    ],
)
def test_bad_options(video_folder: Path, tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(video_folder, tmp_path, GOOD, **options)
