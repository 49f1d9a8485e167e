"""VSE-infinity's text files of Flickr30K and COCO."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image

from tests.helpers import ROOT
from uniadapter.datasets import PrecompRetrieval
from uniadapter.registry import DATASETS

IDS = (31, 7, 0)


def write(root: Path, split: str = "dev", each: bool = False, **files: str) -> Path:
    """A split of three images with five captions each, in either form of the list of images."""
    (root / "precomp").mkdir(exist_ok=True)
    (root / "images").mkdir(exist_ok=True)
    captions = [f"caption {i} of {number}" for number in IDS for i in range(5)]
    numbers = [number for number in IDS for _ in range(5 if each else 1)]
    content = {
        f"precomp/{split}_caps.txt": "\n".join(captions) + "\n",
        f"precomp/{split}_ids.txt": "\n".join(map(str, numbers)) + "\n",
        "id_mapping.json": json.dumps({str(number): f"{number}.jpg" for number in IDS}),
    }
    names = {"caps": f"precomp/{split}_caps.txt", "ids": f"precomp/{split}_ids.txt"}
    content.update({names.get(name, "id_mapping.json"): text for name, text in files.items()})
    for name, text in content.items():
        (root / name).write_text(text, encoding="utf-8")
    for number in IDS:
        Image.fromarray(np.full((6, 8, 3), number, np.uint8)).save(root / f"images/{number}.jpg")
    return root


def build(root: Path, **options: Any) -> PrecompRetrieval:
    options = {"ann_file": "precomp/dev_caps.txt", **options}
    return PrecompRetrieval(data_root=str(root), data_prefix={"media": "images"}, **options)


@pytest.mark.parametrize("each", [False, True])
def test_caption_i_is_of_image_i_by_five(tmp_path, each):
    """Or of image i, where the list of images has as many lines."""
    root = write(tmp_path, each=each)
    training, test = build(root), build(root, test_mode=True)
    assert len(training) == 15
    for i in range(15):
        info = training.get_data_info(i)
        assert info["text"] == f"caption {i % 5} of {IDS[i // 5]}"
        assert info["media_path"].endswith(f"images/{IDS[i // 5]}.jpg")
        assert info["media_id"] == i // 5
    assert [len(test.get_data_info(i)["texts"]) for i in range(3)] == [5, 5, 5]
    assert [m["video_id"] for m in test.media()] == [f"{number}.jpg" for number in IDS]
    first = build(root, test_mode=True, indices=2)
    assert [m["video_id"] for m in first.media()] == ["31.jpg", "7.jpg"]


def test_forms_of_the_files(tmp_path):
    """A byte order mark, CRLF, leading zeros and blank lines at the end do no harm."""
    lines = [f"  a caption {i}\t" for i in range(15)]
    root = write(tmp_path, caps="\ufeff" + "\r\n".join(lines) + "\r\n\r\n", ids="0031\r\n7\r\n0")
    assert build(root).get_data_info(3)["text"] == "a caption 3"
    (root / "other.txt").write_text("31\n7\n0\n")
    assert len(build(root, ids_file="other.txt")) == 15


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"ids": "31\n7"}, r"15 captions for the 2 images of .*; there must be 5 an image"),
        ({"caps": "a\n\nb\n"}, r"dev_caps\.txt: line 2 is blank"),
        ({"caps": "a\n" * 14}, "14 captions for the 3 images"),
        ({"ids": "31\n7\n31"}, r"dev_ids\.txt: line 3: 31 stands on 1 too"),
        ({"ids": "31\n7\n9"}, r"id_mapping\.json: image 9 of .*dev_ids\.txt, line 3, has no file"),
        ({"ids": "31\n7\nx9"}, r"line 3: 'x9' is no number of an image"),
        ({"ids": "31\n7\n\u00b2"}, r"line 3: '\u00b2' is no number of an image"),
        ({"mapping": "[1]"}, "an object .* is expected"),
        ({"mapping": "{"}, "not valid JSON"),
        (
            {"mapping": '{"31": "a.jpg", "7": "b.jpg", "0": "a.jpg"}'},
            "images 31 and 0 are both 'a.jpg'",
        ),
        ({"caps": "", "ids": ""}, "zero-length split"),
    ],
)
def test_faults_are_named(tmp_path, files, message):
    with pytest.raises(ValueError, match=message):
        build(write(tmp_path, **files))


def test_missing_files_are_named(tmp_path):
    root = write(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"ann_file = .*test_caps\.txt"):
        build(root, ann_file="precomp/test_caps.txt")
    with pytest.raises(FileNotFoundError, match="mapping = .*no.json"):
        build(root, mapping="no.json")
    with pytest.raises(ValueError, match=r"does not end in _caps\.txt"):
        build(root, ann_file="id_mapping.json")
    (root / "precomp/dev_ids.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"ids_file = .*dev_ids\.txt"):
        build(root)


@pytest.mark.parametrize(
    ("name", "test", "folder"),
    [
        ("flickr30k", "test", "flickr30k-images"),
        ("coco", "testall", "images"),
    ],
)
def test_the_configs_read_them(tmp_path, name, test, folder):
    """Sections of the published settings, on a small copy of the layout."""
    config = Config.fromfile(str(ROOT / f"configs/unipt/vse_{name}.py"))
    for split in ("train", "dev", test):
        write(tmp_path, split)
    if folder != "images":
        (tmp_path / "images").rename(tmp_path / folder)
    with DefaultScope.overwrite_default_scope("uniadapter"):
        for split, items in (("train", 15), ("val", 3), ("test", 3)):
            dataset = config[f"{split}_dataloader"].dataset
            dataset.data_root = str(tmp_path)
            if split == "val":
                assert dataset.indices == 1000
                dataset.indices = 3
            built = DATASETS.build(dataset)
            assert len(built) == items
            assert built[0]["inputs"].shape == (1, 3, 512, 512)
    assert config.train_dataloader.batch_size == 112
    assert not config.train_dataloader.drop_last
    assert config.optim_wrapper.optimizer == {"type": "AdamW", "lr": 5e-4, "weight_decay": 1e-4}
    assert config.optim_wrapper.clip_grad == {"max_norm": 2.0}
    assert "paramwise_cfg" not in config.optim_wrapper
    (schedule,) = config.param_scheduler
    assert (schedule.milestones, schedule.gamma, config.train_cfg.max_epochs) == ([15], 0.1, 25)
    assert [dict(hook) for hook in config.custom_hooks] == [
        {"type": "HardNegativeHook", "epochs": 1}
    ]
    assert config.default_hooks.checkpoint.save_best == "Rsum"
    assert (config.test_cfg.get("folds", 1), config.test_cfg.k_test) == (
        5 if name == "coco" else 1,
        0,
    )
