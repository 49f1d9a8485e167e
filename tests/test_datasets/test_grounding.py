"""MDETR's annotation files, as published and with what can be wrong in them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from uniadapter.datasets import MediaError, ReferringExpressions
from uniadapter.datasets.transforms import CheckPicture, LoadVideo, PackInputs


def content(count: int = 3) -> dict[str, Any]:
    """What a file of MDETR holds."""
    texts = ["woman in white", "the red ball  left", "Guy"]
    spans = [[[0, 5]], [[4, 12]], [[0, 3]]]
    images = [
        {
            "file_name": f"COCO_train2014_{i % 2:012d}.jpg",
            "height": 30,
            "width": 40,
            "id": i,
            "original_id": 7 + i,
            "caption": texts[i % 3],
            "dataset_name": "refcoco",
            "tokens_negative": [[0, 3]],
        }
        for i in range(count)
    ]
    annotations = [
        {
            "area": 50,
            "iscrowd": 0,
            "image_id": i,
            "category_id": 1,
            "id": i,
            "bbox": [10.5, 5.0, 5.0, 10.0],
            "original_id": 3,
            "tokens_positive": spans[i % 3],
        }
        for i in range(count)
    ]
    return {"info": {}, "licenses": [], "images": images, "annotations": annotations}


def write(root: Path, name: str = "finetune_refcoco_val.json", found: Any = None) -> Path:
    """A file and its pictures."""
    (root / "train2014").mkdir(exist_ok=True)
    for number in range(2):
        picture = np.full((30, 40, 3), 40 * number, np.uint8)
        Image.fromarray(picture).save(root / f"train2014/COCO_train2014_{number:012d}.jpg")
    (root / name).write_text(json.dumps(content() if found is None else found))
    return root


def load(root: Path, ann_file: Any = "finetune_refcoco_val.json", **options: Any) -> Any:
    return ReferringExpressions(
        ann_file=ann_file, data_root=str(root), data_prefix={"media": "train2014/"}, **options
    )


def test_items_are_expressions(tmp_path):
    data = load(write(tmp_path))
    assert len(data) == 3
    item = data.get_data_info(1)
    # Not stripped: spans count its characters.
    assert item["text"] == "the red ball  left"
    assert item["tokens_positive"] == [[4, 12]]
    assert item["box"] == item["gt_box"] == [10.5, 5.0, 15.5, 15.0]
    assert (item["image_id"], item["split"], item["source"]) == (1, "val", "refcoco")
    assert item["said_shape"] == [30, 40]
    assert item["media_path"].endswith("COCO_train2014_000000000001.jpg")
    # Two expressions about one picture.
    assert data.get_data_info(2)["media_id"] == data.get_data_info(0)["media_id"]


def test_a_box_is_cut_at_the_picture(tmp_path):
    found = content()
    found["annotations"][0]["bbox"] = [-4, 20.0, 20, 30]
    item = load(write(tmp_path, found=found)).get_data_info(0)
    assert item["box"] == [0.0, 20.0, 16.0, 30.0]
    assert item["gt_box"] == [-4.0, 20.0, 16.0, 50.0]


def test_an_expression_may_name_nothing(tmp_path):
    found = content()
    found["annotations"][0]["tokens_positive"] = []
    assert load(write(tmp_path, found=found)).get_data_info(0)["tokens_positive"] == []


def test_several_files_keep_their_splits(tmp_path):
    names = ["finetune_refcoco_testA.json", "finetune_refcoco_testB.json"]
    for name in names:
        write(tmp_path, name)
    data = load(tmp_path, names)
    assert [data.get_data_info(i)["split"] for i in (0, 5)] == ["testA", "testB"]
    with pytest.raises(ValueError, match="split"):
        load(tmp_path, [names[0], names[0]])
    with pytest.raises(ValueError, match="empty"):
        load(tmp_path, [])


def test_files_may_be_absolute(tmp_path):
    name = "finetune_refcoco_val.json"
    expected = load(write(tmp_path)).files
    assert expected == [str(tmp_path / name)]
    assert load(Path(f"{tmp_path}/"), str(tmp_path / name)).files == expected
    bare = ReferringExpressions(
        ann_file=str(tmp_path / name), data_prefix={"media": str(tmp_path / "train2014")}
    )
    assert bare.files == expected
    slash = ReferringExpressions(
        ann_file=name, data_root=f"{tmp_path}/", data_prefix={"media": "train2014/"}
    )
    assert slash.files == expected


def _change(path: str, value: Any) -> dict[str, Any]:
    found = content()
    *keys, last = path.split(".")
    node: Any = found
    for key in keys:
        node = node[int(key) if key.isdigit() else key]
    if value is None:
        del node[last]
    else:
        node[last] = value
    return found


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("images", None, "'images'"),
        ("annotations", {}, "'annotations'"),
        ("images.1.caption", " ", r"images\[1\].*caption"),
        ("images.1.file_name", None, "file_name"),
        ("images.1.id", 0, "twice"),
        ("images.2.id", 9, "no annotation"),
        ("annotations.1.image_id", 0, r"annotations\[1\]: image_id 0"),
        ("annotations.1.bbox", [1, 2, 3], "bbox"),
        ("annotations.1.bbox", [1, 2, 0, 4], "bbox"),
        ("annotations.1.bbox", [1, 2, float("nan"), 4], "bbox"),
        ("annotations.1.bbox", [50, 2, 3, 4], "outside"),
        ("annotations.1.tokens_positive", None, "tokens_positive"),
        ("annotations.1.tokens_positive", [[0, 99]], "tokens_positive"),
        ("annotations.1.tokens_positive", [[5, 5]], "tokens_positive"),
        ("annotations.1.tokens_positive", [0, 3], "tokens_positive"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, path, value, said):
    with pytest.raises(ValueError, match=said) as error:
        load(write(tmp_path, found=_change(path, value)))
    assert "finetune_refcoco_val.json" in str(error.value)


def test_an_annotation_without_an_image_is_named(tmp_path):
    found = content()
    extra = copy.deepcopy(found["annotations"][0])
    extra["image_id"] = 77
    found["annotations"].append(extra)
    with pytest.raises(ValueError, match="77"):
        load(write(tmp_path, found=found))


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="ann_file"):
        load(write(tmp_path), "finetune_refcoco_train.json")
    (tmp_path / "finetune_refcoco_x.json").write_text("[")
    with pytest.raises(ValueError, match="not valid JSON"):
        load(tmp_path, "finetune_refcoco_x.json")
    with pytest.raises(ValueError, match="zero-length"):
        load(write(tmp_path, found={"images": [], "annotations": []}))


def test_a_picture_of_another_size_is_an_error(tmp_path):
    root = write(tmp_path)
    Image.fromarray(np.zeros((40, 30, 3), np.uint8)).save(
        root / "train2014/COCO_train2014_000000000001.jpg"
    )
    pipeline = [LoadVideo(1, backend={"type": "image"}), CheckPicture(), PackInputs()]
    data = load(root, pipeline=pipeline, test_mode=True)
    sample = data[0]["data_samples"]
    assert sample.ori_shape == (30, 40)
    assert sample.box == [10.5, 5.0, 15.5, 15.0]
    with pytest.raises(MediaError, match="30 x 40"):
        data[1]
