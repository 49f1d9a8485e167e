"""The configs of image-text retrieval, VQA, VideoQA and captioning."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image

from tests.helpers import ROOT
from tests.test_checkpoints.test_layouts.states import key_list, weight_shapes
from tools.analysis_tools.count_params import count_config
from uniadapter.apis.model import build_model
from uniadapter.checkpoints.layouts.fit import fit_to_model
from uniadapter.checkpoints.layouts.keys import map_keys
from uniadapter.checkpoints.layouts.released import RELEASED
from uniadapter.registry import DATASETS

DATA = ROOT / "configs" / "_base_" / "datasets"
PAPER = {128: 4_747_776, 512: 18_908_160}
COCO = "train2014/COCO_train2014_{:012d}.jpg"


@pytest.mark.parametrize("rank", [128, 512])
@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("coco", 395_267),
        ("flickr30k", 395_267),
        ("msrvttqa", 0),
        ("vqav2", 0),
        ("coco_caption", 0),
    ],
)
def test_counts_are_the_papers(name: str, others: int, rank: int) -> None:
    counts = count_config(str(ROOT / f"configs/uniadapter/{name}_r{rank}.py"))
    assert counts["adapter"] == PAPER[rank]
    assert counts["trainable"] == PAPER[rank] + others


@pytest.mark.parametrize(("rank", "adapter"), [(128, 9_878_016), (512, 39_383_040)])
@pytest.mark.parametrize("name", ["coco", "flickr30k"])
def test_blip_large_is_trained_as_base_and_ranked_as_blip(
    name: str, rank: int, adapter: int
) -> None:
    cfg, base = (
        Config.fromfile(str(ROOT / f"configs/uniadapter/{name}{kind}_r{rank}.py"))
        for kind in ("_blip_large", "")
    )
    counts = count_config(cfg.filename)
    assert counts["adapter"] == adapter
    assert counts["heads"] == 460_802
    assert counts["backbone"] + counts["heads"] + 1 == 446_128_643
    for key in ("optim_wrapper", "param_scheduler", "train_cfg", "train_dataloader"):
        assert cfg[key] == base[key]
    for loop in ("val_cfg", "test_cfg"):
        assert cfg[loop] == {**base[loop], "itc_weight": 1.0}
        assert base[loop].itc_weight == 0.0


@pytest.mark.parametrize(
    ("size", "rank", "adapter", "heads", "whole"),
    [
        ("base", 128, 3_558_912, 1_179_648, 222_458_881),
        ("base", 512, 14_180_352, 1_179_648, 222_458_881),
        ("large", 128, 9_489_408, 2_097_152, 675_188_737),
        ("large", 512, 37_810_176, 2_097_152, 675_188_737),
    ],
)
def test_beit3_is_trained_as_blip_and_ranked_by_similarity(
    size: str, rank: int, adapter: int, heads: int, whole: int
) -> None:
    cfg = Config.fromfile(str(ROOT / f"configs/uniadapter/flickr30k_beit3_{size}_r{rank}.py"))
    base = Config.fromfile(str(ROOT / f"configs/uniadapter/flickr30k_r{rank}.py"))
    counts = count_config(cfg.filename)
    assert (counts["adapter"], counts["heads"]) == (adapter, heads)
    # The original counts its mask token and the two unread rows of both position tables.
    unread = 5 * (1024 if size == "large" else 768)
    assert counts["backbone"] + heads + 1 + unread == whole
    for key in ("optim_wrapper", "param_scheduler", "train_cfg"):
        assert cfg[key] == base[key]
    assert cfg.train_dataloader.batch_size == base.train_dataloader.batch_size
    assert cfg.val_cfg.k_test == cfg.test_cfg.k_test == 0
    for split in ("train", "val", "test"):
        steps = [step["type"] for step in cfg[f"{split}_dataloader"].dataset.pipeline]
        assert not {"CleanCaption", "VideoRandAugment"} & set(steps)


@pytest.mark.parametrize(("rank", "adapter"), [(128, 4_153_344), (512, 16_544_256)])
@pytest.mark.parametrize("kind", ["flickr30k", "vqav2"])
def test_albef_is_trained_as_blip_on_its_own_data(kind: str, rank: int, adapter: int) -> None:
    cfg = Config.fromfile(str(ROOT / f"configs/uniadapter/{kind}_albef_r{rank}.py"))
    base = Config.fromfile(str(ROOT / f"configs/uniadapter/{kind}_r{rank}.py"))
    counts = count_config(cfg.filename)
    assert counts["adapter"] == adapter
    for key in ("optim_wrapper", "param_scheduler", "train_cfg", "test_cfg", "auto_scale_lr"):
        assert cfg[key] == base[key]
    assert cfg.train_dataloader.batch_size == base.train_dataloader.batch_size
    model, train = cfg.model, cfg.train_dataloader.dataset.pipeline
    assert model.visual.img_size == train[1].size == 384
    assert (train[3].num_ops, train[3].magnitude) == (2, 7)
    for split in ("train", "test"):
        assert cfg[f"{split}_dataloader"].dataset.pipeline[-2].style == "albef"
    assert (model.text.vocab_size, model.text.fusion_layer) == (30522, 6)
    if kind == "vqav2":
        assert (model.decoder.num_layers, model.decoder.layer_offset) == (6, 6)
        assert model.rank_label_smoothing == model.label_smoothing == 0.0
        assert (model.end_marks, model.data_preprocessor.max_text_len) == (2, 25)
        return
    # Towers 86,090,496 + 123,075,072, heads and temperature.
    assert counts["backbone"] + counts["heads"] + 1 == 209_560_835
    assert (model.queue_size, model.data_preprocessor.max_text_len) == (65536, 30)
    assert (cfg.test_cfg.k_test, cfg.test_cfg.itc_weight) == (128, 0.0)


@pytest.mark.parametrize("rank", [128, 512])
def test_the_released_vqa_model_has_a_pair_for_each_tower(rank: int) -> None:
    counts = count_config(str(ROOT / f"configs/uniadapter/released_vqa_r{rank}.py"))
    # One norm before the down-projection and one on the cross-modal sum, in each of 12 layers.
    assert counts["adapter"] == PAPER[rank] + 12 * 2 * 2 * 768
    assert counts["kv_pair"] == 2 * 198_274
    model = Config.fromfile(str(ROOT / f"configs/uniadapter/released_vqa_r{rank}.py")).model
    assert model.visual.drop_path_rate == model.label_smoothing == 0.1


@pytest.mark.parametrize("rank", [128, 512])
@pytest.mark.parametrize("name", ["vqav2", "msrvttqa", "released_vqa"])
def test_answers_are_ranked_by_the_loss_of_training(name: str, rank: int) -> None:
    model = Config.fromfile(str(ROOT / f"configs/uniadapter/{name}_r{rank}.py")).model
    assert model.inference == "rank"
    assert model.rank_label_smoothing == model.label_smoothing == 0.1


@pytest.mark.parametrize("name", ["tiny/vqav2_r32", "tiny/msrvttqa_r32", "easy_vqa/r64"])
def test_the_small_configs_rank_by_likelihood(name: str) -> None:
    model = Config.fromfile(str(ROOT / f"configs/{name}.py")).model
    assert model.get("rank_label_smoothing", 0.0) == 0.0


@pytest.mark.parametrize("rank", [128, 512])
def test_the_released_vqa_checkpoint_fits(rank: int) -> None:
    cfg = Config.fromfile(str(ROOT / f"configs/uniadapter/released_vqa_r{rank}.py"))
    shapes, _ = key_list("uniadapter_vqa", rank)
    released = {key: torch.zeros(1).expand(shape) for key, shape in shapes.items()}
    state, report = map_keys(released, RELEASED, "f.pth")
    with torch.device("meta"):
        model = build_model(cfg.model.to_dict())
    fitted = fit_to_model(state, report, model, "f.pth")
    # Position embeddings keep their own grid, of 224 pixels; loading takes them to 480.
    wanted = {**weight_shapes(model), "visual.pos_embed": (1, 197, 768)}
    assert {k: tuple(t.shape) for k, t in fitted.items()} == wanted


@pytest.mark.parametrize("rank", [128, 512])
@pytest.mark.parametrize(
    ("name", "lr", "batch", "epochs", "size", "frames"),
    [
        ("coco", 1e-5, 256, 5, 384, (1, 1)),
        ("flickr30k", 1e-5, 256, 6, 384, (1, 1)),
        ("msrvttqa", 2e-5, 24, 10, 384, (8, 16)),
        ("vqav2", 2e-5, 128, 10, 480, (1, 1)),
        ("coco_caption", 1e-5, 256, 5, 384, (1, 1)),
    ],
)
def test_the_recipe_is_table_16(
    name: str, lr: float, batch: int, epochs: int, size: int, frames: tuple, rank: int
) -> None:
    cfg = Config.fromfile(str(ROOT / f"configs/uniadapter/{name}_r{rank}.py"))
    assert cfg.optim_wrapper.optimizer == {"type": "AdamW", "lr": lr, "weight_decay": 0.05}
    assert 8 * cfg.train_dataloader.batch_size == batch == cfg.auto_scale_lr.base_batch_size
    assert (cfg.train_cfg.max_epochs, cfg.model.visual.img_size) == (epochs, size)
    train, test = (cfg[f"{s}_dataloader"].dataset.pipeline for s in ("train", "test"))
    assert (train[0].num_frames, test[0].num_frames) == frames
    assert train[1].size == test[1].size == size
    assert [step.type for step in train[1:4]] == [
        "VideoRandomResizedCrop",
        "VideoFlip",
        "VideoRandAugment",
    ]
    if name == "coco":
        assert cfg.test_cfg.k_test == 256


def save_picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((20, 30, 3), 80, np.uint8)).save(path)


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_vqav2(root: Path) -> None:
    splits = {"train": "train2014", "val": "val2014", "test-dev": "test2015"}
    for index, (split, folder) in enumerate(splits.items()):
        save_picture(root.parent / "coco" / "images" / folder / f"COCO_{folder}_{9:012d}.jpg")
        name = folder if split != "test-dev" else "test-dev2015"
        question = {"image_id": 9, "question": "What?", "question_id": index}
        content = {"data_subtype": folder, "questions": [question]}
        write(root / f"v2_OpenEnded_mscoco_{name}_questions.json", content)
        answers = [{"answer": "cat"}] * 10
        found = {"question_id": index, "question_type": "a", "answer_type": "b", "answers": answers}
        write(root / f"v2_mscoco_{name}_annotations.json", {"annotations": [found]})


def write_karpathy(root: Path, prefix: str, images: str) -> None:
    for number in (1, 2):
        save_picture(root / images / COCO.format(number))
    names = [COCO.format(number) for number in (1, 2)]
    train = [
        {"image": name, "caption": "A b.", "image_id": f"coco_{i}"} for i, name in enumerate(names)
    ]
    write(root / "annotations" / f"{prefix}_train.json", train)
    for split in ("val", "test"):
        test = [{"image": name, "caption": ["A b.", "C d."]} for name in names]
        write(root / "annotations" / f"{prefix}_{split}.json", test)


def write_msrvtt_qa(root: Path) -> None:
    # A folder of frames stands in for the video.
    for number in range(3):
        save_picture(root.parent / "msrvtt" / "videos" / "video3" / f"{number}.png")
    for split in ("train", "val", "test"):
        entry = {"answer": "man", "category_id": 1, "id": 0, "question": "who?", "video_id": 3}
        write(root / f"{split}_qa.json", [entry])


@pytest.fixture
def roots(tmp_path: Path) -> dict[str, Path]:
    write_karpathy(tmp_path / "coco", "coco_karpathy", "images")
    write_karpathy(tmp_path / "flickr30k", "flickr30k", "")
    write_vqav2(tmp_path / "vqav2")
    return {name: tmp_path / name for name in ("coco", "flickr30k", "vqav2")}


@pytest.mark.parametrize(
    ("name", "root", "size", "items"),
    [
        ("coco_retrieval", "coco", 384, {"train": 2, "val": 2, "test": 2}),
        ("flickr30k_retrieval", "flickr30k", 384, {"train": 2, "val": 2, "test": 2}),
        ("coco_caption", "coco", 384, {"train": 2, "val": 2, "test": 2}),
        ("vqav2", "vqav2", 480, {"train": 2, "test": 1}),
        ("vqav2_val", "vqav2", 480, {"train": 1, "val": 1, "test": 1}),
    ],
)
def test_data_of_images(
    roots: dict[str, Path], name: str, root: str, size: int, items: dict[str, int]
) -> None:
    config = Config.fromfile(str(DATA / f"{name}.py"))
    for split, number in items.items():
        check(config[f"{split}_dataloader"].dataset, roots[root], number, (1, 3, size, size))


def test_data_of_msrvtt_qa(tmp_path: Path) -> None:
    write_msrvtt_qa(tmp_path / "msrvtt_qa")
    config = Config.fromfile(str(DATA / "msrvtt_qa.py"))
    for split, frames in (("train", 8), ("val", 16), ("test", 16)):
        dataset = config[f"{split}_dataloader"].dataset
        check(dataset, tmp_path / "msrvtt_qa", 1, (frames, 3, 384, 384))


def test_data_of_easy_vqa(tmp_path: Path) -> None:
    config = Config.fromfile(str(DATA / "easy_vqa.py"))
    for split in ("train", "test"):
        save_picture(tmp_path / split / "images" / "0.png")
        write(tmp_path / split / "questions.json", [["what is it?", "circle", 0]])
        check(config[f"{split}_dataloader"].dataset, tmp_path, 1, (1, 3, 64, 64))


def check(dataset_cfg: dict, root: Path, items: int, shape: tuple[int, ...]) -> None:
    with DefaultScope.overwrite_default_scope("uniadapter"):
        dataset = DATASETS.build({**dataset_cfg, "data_root": str(root)})
    assert len(dataset) == items
    assert dataset[0]["inputs"].shape == shape


def test_the_first_example_of_own_data(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "get_started.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert code is not None
    config = tmp_path / "own.py"
    config.write_text(code[1].replace("configs/", f"{ROOT.as_posix()}/configs/"))
    cfg = Config.fromfile(str(config))
    assert cfg.val_cfg.k_test == cfg.test_cfg.k_test == 64
    for split, frames, file in (("train", 8, "train"), ("val", 16, "test"), ("test", 16, "test")):
        own = cfg[f"{split}_dataloader"].dataset
        assert own.pop("pipeline")[0].num_frames == frames
        options = {"type": "RetrievalJsonDataset", "data_root": "data/mine/"}
        tested = {} if split == "train" else {"test_mode": True}
        assert own == {**options, **tested, "ann_file": f"{file}.jsonl"}


def test_the_tutorial_on_own_data(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "own_data.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert code is not None
    folder = ROOT / "configs" / "uniadapter"
    config = tmp_path / "vqa.py"
    config.write_text(code[1].replace("../uniadapter", folder.as_posix()))
    lines = re.findall(r"^\{.*\}$", text, re.MULTILINE)
    question = next(line for line in lines if "question" in line)
    save_picture(tmp_path / "data" / "files" / "dog.mp4" / "0.png")
    for split in ("train", "val", "test"):
        (tmp_path / "data" / f"{split}.jsonl").write_text(question)
        dataset = Config.fromfile(str(config))[f"{split}_dataloader"].dataset
        check(dataset, tmp_path / "data", 1, (8 if split == "train" else 16, 3, 384, 384))


@pytest.mark.parametrize(
    ("name", "trainable", "rate", "answers"),
    [("vqav2", 10_730_170, 5e-4, 3129), ("gqa", 8_752_051, 1e-4, 1842)],
)
def test_clip_vil_is_trained_as_published(
    name: str, trainable: int, rate: float, answers: int
) -> None:
    cfg = Config.fromfile(str(ROOT / f"configs/unipt/clip_vil_{name}.py"))
    counts = count_config(cfg.filename)
    assert counts["adapter"] == 4_736_641
    assert counts["trainable"] == counts["adapter"] + counts["heads"] == trainable
    assert cfg.model.num_answers == answers
    full = count_config(str(ROOT / f"configs/unipt/clip_vil_{name}_full_finetune.py"))
    assert full["trainable"] == full["total"] == counts["total"] - counts["adapter"]
    wrapper = cfg.optim_wrapper
    assert wrapper.optimizer == {"type": "AdamW", "lr": rate, "eps": 1e-6, "weight_decay": 0.01}
    assert wrapper.paramwise_cfg == {"no_decay_bias": True}
    assert wrapper.clip_grad == {"max_norm": 1.0}
    batch = 4 * cfg.train_dataloader.batch_size * wrapper.accumulative_counts
    assert batch == cfg.auto_scale_lr.base_batch_size == 1024
    (schedule,) = cfg.param_scheduler
    assert (schedule.type, schedule.warmup) == ("WarmupLinearLR", 0.05)
    assert cfg.train_cfg.max_epochs == 5
    assert cfg.randomness.seed == 9595
    for split in ("train", "val", "test"):
        loader = cfg[f"{split}_dataloader"]
        assert loader.batch_sampler.type == "OrientedBatchSampler"
        assert loader.dataset.get("unknown") == ("drop" if name == "gqa" else None)
    assert cfg.model.data_preprocessor.max_text_len == 20
    with DefaultScope.overwrite_default_scope("uniadapter"):
        assert DATASETS.get(cfg.train_dataloader.dataset.type) is not None
