"""The data sections under configs/_base_ build on files of the published formats."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from uniadapter.registry import DATASETS

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "_base_" / "datasets"


@pytest.fixture
def roots(tmp_path: Path, make_video: Callable[..., Path]) -> dict[str, Path]:
    folders = {}
    for name in ("msrvtt_retrieval", "didemo_retrieval"):
        folders[name] = tmp_path / name
        (folders[name] / "videos").mkdir(parents=True)
        for index in range(2):
            make_video(folders[name] / "videos" / f"video{index}.mp4", num_frames=5)
    root = folders["msrvtt_retrieval"]
    sentences = [{"video_id": f"video{i % 2}", "caption": f"Caption {i}."} for i in range(6)]
    (root / "MSRVTT_data.json").write_text(json.dumps({"sentences": sentences}))
    (root / "MSRVTT_train.9k.csv").write_text("video_id\nvideo0\nvideo1\n")
    (root / "MSRVTT_JSFUSION_test.csv").write_text(
        "key,vid_key,video_id,sentence\nret0,msr0,video0,one\nret1,msr1,video1,two\n"
    )
    for split in ("train", "val", "test"):
        entries = [{"video": f"video{i % 2}.avi", "description": f"part {i}"} for i in range(4)]
        (folders["didemo_retrieval"] / f"{split}_data.json").write_text(json.dumps(entries))
    return folders


@pytest.mark.parametrize(("name", "items"), [("msrvtt_retrieval", 6), ("didemo_retrieval", 2)])
def test_datasets_of_the_config(roots: dict[str, Path], name: str, items: int) -> None:
    config = Config.fromfile(str(CONFIGS / f"{name}.py"))
    with DefaultScope.overwrite_default_scope("uniadapter"):
        for split in ("train", "val", "test"):
            loader = config[f"{split}_dataloader"]
            loader.dataset.data_root = str(roots[name])
            dataset = DATASETS.build(loader.dataset)
            assert len(dataset) == (items if split == "train" else 2)
            frames = 8 if split == "train" else 16
            assert dataset[0]["inputs"].shape == (frames, 3, 224, 224)


def test_data_loader_of_the_config(roots: dict[str, Path]) -> None:
    config = Config.fromfile(str(CONFIGS / "msrvtt_retrieval.py"))
    loader_config = config.train_dataloader
    loader_config.dataset.data_root = str(roots["msrvtt_retrieval"])
    loader_config.update(num_workers=0, persistent_workers=False, batch_size=3)
    with DefaultScope.overwrite_default_scope("uniadapter"):
        loader = Runner.build_dataloader(loader_config, seed=0)
    batch = next(iter(loader))
    assert loader.collate_fn.func is pseudo_collate
    assert len(batch["inputs"]) == len(batch["data_samples"]) == 3


def test_paper_batch_and_frames() -> None:
    for name in ("msrvtt_retrieval", "didemo_retrieval"):
        config = Config.fromfile(str(CONFIGS / f"{name}.py"))
        assert config.train_dataloader.batch_size * 8 == 64
        for loader in (config.val_dataloader, config.test_dataloader):
            assert loader.sampler.shuffle is False
            assert loader.sampler.round_up is False
            assert loader.dataset.test_mode is True
