"""A grounding run through the real commands: trained, stopped, resumed, tested, handed on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.helpers import assert_equal, load_tool, write_run_cfg
from tests.mdetr_reference import ReferenceMDETR, config
from tests.roberta import write_lists
from tests.spawn import spawn
from tests.test_datasets.test_grounding import write
from tests.test_models.test_tasks.test_grounding import converted, draw_batch
from uniadapter.apis.model import init_model
from uniadapter.apis.pictures import FOUND, TARGET
from uniadapter.utils.dist import weigh_mean

train, evaluate = load_tool("train.py"), load_tool("test.py")
drawing = load_tool("visualization/draw_boxes.py")
VOCABULARY = 330


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, annotation files, a tokenizer, and the weights of the frozen model."""
    root = tmp_path_factory.mktemp("refcoco")
    for name in ("train", "val", "testA", "testB"):
        write(root, f"finetune_refcoco_{name}.json")
    write_lists(root / "roberta")
    model = init_model(write_cfg(root, root, pretrained=None))
    kept = {n: t for n, t in model.state_dict().items() if not n.startswith("adapter.")}
    save_file(kept, root / "mdetr.safetensors")
    return root


def write_cfg(folder: Path, world: Path, pretrained: str | None = "", **model: Any) -> Path:
    """A run of the published loop on small sizes: crops, dropout, averages, two rates."""
    folder.mkdir(exist_ok=True)
    tokenizer = {"file": str(world / "roberta")}
    cfg: dict[str, Any] = {
        "model": {
            **config(),
            "pretrained": str(world / "mdetr.safetensors") if pretrained == "" else pretrained,
            "data_preprocessor": {
                "type": "GroundingDataPreprocessor",
                "tokenizer": tokenizer,
                "max_text_len": 24,
                "map_size": 24,
            },
            **model,
        }
    }
    cfg["model"]["text"]["vocab_size"] = VOCABULARY
    load: list[dict[str, Any]] = [
        {"type": "LoadVideo", "num_frames": 1, "backend": {"type": "image"}},
        {"type": "CheckPicture"},
    ]
    crop = {"type": "BoxCrop", "sizes": [32, 36], "least": 24, "most": 60, "prob": 0.5}
    for split in ("train", "val", "test"):
        training = split == "train"
        sizes = [24, 28, 32] if training else [30]
        steps = [
            *load,
            *([crop] if training else []),
            {"type": "BoxResize", "sizes": sizes, "longest": 60},
        ]
        files = [f"finetune_refcoco_{name}.json" for name in ("testA", "testB")]
        sampler: dict[str, Any] = {"type": "DefaultSampler", "shuffle": training}
        cfg[f"{split}_dataloader"] = {
            "batch_size": 2,
            "num_workers": 0,
            "sampler": sampler if training else {**sampler, "round_up": False},
            "collate_fn": {"type": "pseudo_collate"},
            "dataset": {
                "type": "ReferringExpressions",
                "data_root": str(world),
                "data_prefix": {"media": "train2014/"},
                "ann_file": files if split == "test" else f"finetune_refcoco_{split}.json",
                "pipeline": [*steps, {"type": "PackInputs"}],
                "test_mode": not training,
            },
        }
    cfg["val_evaluator"] = cfg["test_evaluator"] = {"type": "GroundingMetric"}
    cfg["val_cfg"], cfg["test_cfg"] = {"type": "ValLoop"}, {"type": "TestLoop"}
    cfg["train_cfg"] = {"max_epochs": 3}
    cfg["param_scheduler"] = [{"type": "MultiStepLR", "milestones": [2], "gamma": 0.1}]
    cfg["optim_wrapper"] = {
        "optimizer": {"lr": 1e-2, "weight_decay": 1e-4},
        "paramwise_cfg": {"lr_of": {"heads": 1e-3}},
        "clip_grad": {"max_norm": 0.1},
    }
    cfg["custom_hooks"] = [{"type": "EMAHook", "momentum": 0.1, "from_start": True}]
    cfg["default_hooks"] = {
        "logger": {"interval": 1},
        "checkpoint": {"max_keep_ckpts": -1, "save_best": "P@1"},
    }
    return write_run_cfg(folder / "cfg.py", cfg)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, world: Path) -> Path:
    """Folder of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    train.main([str(write_cfg(folder, world)), "--work-dir", str(folder)])
    return folder


def content(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def test_a_resumed_run_is_the_uninterrupted_one(whole: Path, tmp_path: Path, world: Path):
    folder = tmp_path / "parts"
    cfg = write_cfg(folder, world)
    shutil.copy(whole / "epoch_1.pth", folder)
    (folder / "last_checkpoint").write_text(str(folder / "epoch_1.pth"))
    train.main([str(cfg), "--work-dir", str(folder), "--resume"])
    expected, found = content(whole / "epoch_3.pth"), content(folder / "epoch_3.pth")
    for key in ("state_dict", "ema_state_dict", "optimizer", "param_schedulers"):
        assert_equal(expected[key], found[key], key)


def test_rates_are_two_and_fall(whole: Path):
    groups = content(whole / "epoch_3.pth")["optimizer"]["param_groups"]
    assert [group["initial_lr"] for group in groups] == [1e-2, 1e-3]
    assert [group["lr"] for group in groups] == pytest.approx([1e-3, 1e-4])
    names = content(whole / "epoch_3.pth")["optimizer_names"]
    assert all(name.startswith("adapter.") for name in names[0])
    assert not any(name.startswith("adapter.") for name in names[1])


def test_files_hold_what_was_trained(whole: Path, world: Path):
    saved = content(whole / "epoch_3.pth")
    frozen = load_file(world / "mdetr.safetensors")
    heads = ("class_embed.", "bbox_embed.", "contrastive_align_projection_")
    trained = {n for n in saved["state_dict"] if n.startswith(("adapter.", *heads))}
    # Norms that are constants are buffers; every frozen parameter is left out.
    rest = set(saved["state_dict"]) - trained
    assert all(".bn" in name or "downsample.1" in name for name in rest)
    exported = load_file(whole / "epoch_3_adapter/adapter_model.safetensors")
    assert set(exported) == trained
    for name, tensor in exported.items():
        assert torch.equal(tensor, saved["state_dict"][name]), name
    own = [
        dict(init_model(whole / "cfg.py", whole / name).named_parameters())
        for name in ("epoch_3.pth", "epoch_3_adapter")
    ]
    for name, parameter in own[0].items():
        assert torch.equal(parameter, own[1][name])
        if name not in trained:
            assert torch.equal(parameter, frozen[name]), name


def test_both_splits_are_tested_and_written(whole: Path, tmp_path: Path):
    metrics, boxes = tmp_path / "metrics.json", tmp_path / "boxes.json"
    evaluate.main(
        [
            *(str(whole / "cfg.py"), str(whole / "epoch_3_adapter"), "--work-dir", str(tmp_path)),
            *("--out", str(metrics), "--show-dir", str(tmp_path), "--show-num", "3"),
            *("--cfg-options", f"test_evaluator.result_file={boxes}"),
        ]
    )
    with Image.open(tmp_path / "predictions.png") as picture:
        colors = {color for _, color in picture.convert("RGB").getcolors(1 << 24)}
    assert {TARGET, FOUND} <= colors
    found = json.loads(metrics.read_text())
    wanted = {f"{split}/P@{k}" for split in ("testA", "testB") for k in (1, 5, 10)}
    assert wanted <= set(found)
    assert found["testA/P@1"] == found["testB/P@1"]
    rows = json.loads(boxes.read_text())
    # 3 expressions a split, the 5 queries that there are of each.
    assert len(rows) == 2 * 3 * 5
    assert all(row["bbox"][2] > 0 for row in rows)


def test_boxes_are_drawn(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "boxes.png"
    arguments = [str(whole / "cfg.py"), str(whole / "epoch_3_adapter"), str(out)]
    drawing.main([*arguments, "--num", "3", "--boxes", "2", "--height", "90"])
    assert "3 expressions" in capsys.readouterr().out
    with Image.open(out) as picture:
        colors = {color for _, color in picture.convert("RGB").getcolors(1 << 24)}
    assert {TARGET, FOUND} <= colors
    page = (tmp_path / "boxes.html").read_text(encoding="utf-8")
    assert "woman in white" in page
    assert "GIoU" in page


def _share(rank: int, world_size: int, path: str, batch: dict[str, Any]) -> None:
    model = converted(ReferenceMDETR(3)).train()
    rows = list(range(len(batch["boxes"])))[rank::world_size]
    losses = model(**{key: value[rows] for key, value in batch.items()}, mode="loss")
    sum(losses.values()).backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    torch.save({"losses": losses, "gradients": found}, f"{path}/{rank}.pth")
    assert weigh_mean(torch.tensor(1.0), 1) == 1


def test_two_processes_are_one(tmp_path: Path):
    # Three pictures: one process has two of them. Texts of one length, see the alignment loss.
    batch = draw_batch(21, rows=3)
    batch["input_ids"] = batch["input_ids"].clamp(min=4)
    batch["attention_mask"] = torch.ones_like(batch["input_ids"])
    model = converted(ReferenceMDETR(3)).train()
    losses = model(**batch, mode="loss")
    sum(losses.values()).backward()
    spawn(_share, 2, str(tmp_path), batch)
    parts = [torch.load(tmp_path / f"{rank}.pth", weights_only=True) for rank in range(2)]
    for name, loss in losses.items():
        mean = sum(part["losses"][name] for part in parts) / 2
        torch.testing.assert_close(mean, loss, atol=1e-5, rtol=1e-5)
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            mean = sum(part["gradients"][name] for part in parts) / 2
            near = 1e-4 * float(parameter.grad.abs().max()) + 1e-6
            torch.testing.assert_close(mean, parameter.grad, atol=near, rtol=0)
