"""Image-text retrieval on the Karpathy splits, in both formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from uniadapter.datasets import KarpathyRetrieval, MediaError
from uniadapter.datasets.karpathy import read_captioned_images

NAMES = [f"val2014/COCO_val2014_{number:012d}.jpg" for number in (9, 25, 30)]


def karpathy_entry(name: str, split: str, number: int) -> dict:
    folder, filename = name.split("/")
    return {
        "filepath": folder,
        "filename": filename,
        "imgid": number,
        "cocoid": int(filename[-16:-4]),
        "split": split,
        "sentids": [5 * number, 5 * number + 1],
        "sentences": [
            {"raw": f"Caption {i} of {number}.", "tokens": [], "imgid": number, "sentid": i}
            for i in range(2)
        ],
    }


TRAIN = [
    {"image": NAMES[0], "caption": "one of nine", "image_id": "coco_9"},
    {"image": NAMES[1], "caption": "one of twenty-five", "image_id": "coco_25"},
    {"image": NAMES[0], "caption": "two of nine", "image_id": "coco_9"},
]
TEST = [{"image": name, "caption": [f"a {name}", "another"]} for name in NAMES]
KARPATHY = {
    "dataset": "coco",
    "images": [
        karpathy_entry(name, split, number)
        for number, (name, split) in enumerate(
            zip(NAMES, ("train", "restval", "test"), strict=True)
        )
    ],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "images" / "val2014").mkdir(parents=True)
    for name in NAMES[:2]:
        Image.fromarray(np.full((6, 8, 3), 77, np.uint8)).save(tmp_path / "images" / name)
    return tmp_path


def build(root: Path, content: Any, **options: Any) -> KarpathyRetrieval:
    (root / "ann.json").write_text(json.dumps(content))
    return KarpathyRetrieval(
        ann_file="ann.json", data_root=str(root), data_prefix={"media": "images"}, **options
    )


def test_training_has_an_item_a_caption(root: Path) -> None:
    items = [build(root, TRAIN).get_data_info(i) for i in range(3)]
    assert [item["media_id"] for item in items] == [0, 1, 0]
    assert [item["text"] for item in items] == [entry["caption"] for entry in TRAIN]
    assert items[1]["media_path"] == str(root / "images" / NAMES[1])


def test_testing_has_an_item_an_image(root: Path) -> None:
    dataset = build(root, TEST, test_mode=True)
    assert [dataset.get_data_info(i)["texts"] for i in range(3)] == [e["caption"] for e in TEST]


@pytest.mark.parametrize(
    ("split", "test_mode", "names", "items"),
    [("train", False, NAMES[:2], 4), ("test", True, NAMES[2:], 1)],
)
def test_karpathys_own_file(
    root: Path, split: str, test_mode: bool, names: list, items: int
) -> None:
    dataset = build(root, KARPATHY, split=split, test_mode=test_mode)
    assert len(dataset) == items
    assert [medium["video_id"] for medium in dataset.media()] == names


def test_both_formats_name_the_images_alike(root: Path) -> None:
    for content, split in ((TRAIN, None), (TEST, None), (KARPATHY, "train")):
        (root / "ann.json").write_text(json.dumps(content))
        found = read_captioned_images(str(root / "ann.json"), split)
        assert [entry.image_id for entry in found][:2] == [9, 25]


def test_flickr_has_no_folder_and_no_coco_number(root: Path) -> None:
    entry = {**karpathy_entry(NAMES[0], "test", 4), "filename": "36979.jpg"}
    del entry["filepath"], entry["cocoid"]
    (root / "ann.json").write_text(json.dumps({"images": [entry]}))
    found = read_captioned_images(str(root / "ann.json"), "test")[0]
    assert (found.image, found.image_id) == ("36979.jpg", 4)


def test_a_missing_image_is_named(root: Path) -> None:
    pipeline = [{"type": "uniadapter.LoadVideo", "num_frames": 1}]
    dataset = build(root, TEST, test_mode=True, pipeline=pipeline)
    assert dataset[0]["frames"].shape == (1, 6, 8, 3)
    with pytest.raises(MediaError, match=r"COCO_val2014_000000000030\.jpg: does not exist"):
        dataset[2]


def without(entry: dict, key: str) -> dict:
    return {name: value for name, value in entry.items() if name != key}


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ([], {}, "zero-length split"),
        (TRAIN, {"split": "train"}, "leave out split='train'"),
        ([TRAIN[0], without(TRAIN[1], "image")], {}, "entry 1: key 'image' is missing"),
        ([without(TRAIN[0], "caption")], {}, "entry 0: key 'caption' is missing"),
        ([{**TEST[0], "caption": []}], {}, "entry 0: 'caption' is an empty list"),
        ([{**TEST[0], "caption": ["a", " "]}], {}, "entry 0: item 1: 'caption' is empty"),
        ([TEST[0], TEST[1], TEST[0]], {}, "entry 2: image .* stands at .*entry 0 too"),
        ([TRAIN[0], {**TRAIN[1], "image_id": "coco_9"}], {}, "image_id 9 of .* is also that of"),
        ([TRAIN[0], {**TRAIN[2], "image_id": "coco_8"}], {}, "has image_id 8, but 9 at .*entry 0"),
        (KARPATHY, {}, "holds all splits: split must be one of"),
        (KARPATHY, {"split": "dev"}, "split must be one of"),
        (KARPATHY, {"split": "val"}, "zero-length split"),
        ({"videos": []}, {"split": "val"}, "an object with a list 'images'"),
        (
            {"images": [{**KARPATHY["images"][0], "split": "dev"}]},
            {"split": "val"},
            r"images\[0\]: 'split' is 'dev'",
        ),
        (
            {"images": [{**KARPATHY["images"][0], "sentences": []}]},
            {"split": "train"},
            r"images\[0\]: 'sentences' must be a list",
        ),
        (
            {"images": [without(KARPATHY["images"][0], "filename")]},
            {"split": "train"},
            r"images\[0\]: key 'filename' is missing",
        ),
        (
            {"images": [{**KARPATHY["images"][0], "sentences": [{"tokens": []}]}]},
            {"split": "train"},
            r"images\[0\]: sentences\[0\]: key 'raw' is missing",
        ),
    ],
)
def test_bad_annotations(root: Path, content: Any, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=r"ann\.json.*" + message):
        build(root, content, **options)
