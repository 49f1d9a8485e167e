"""The twin of CLIP-ViL: its rows train, are tested and resumed on the embedded questions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

from tests.helpers import ROOT
from tests.test_integration.test_resume import assert_equal
from tests.toy_parts import draw_parts
from uniadapter.apis.model import build_model
from uniadapter.engine.runner.build import build_runner
from uniadapter.utils.config import load_config

pytest.importorskip("transformers")
ROWS = ("unipt", "linear_probe", "full_finetune")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_parts(tmp_path_factory.mktemp("clip_vil") / "world", "--parts", "vqa_lxmert")


def config_of(row: str, world: Path, work_dir: Path, **options: Any) -> Config:
    """A row of the twin with its data elsewhere, and a photo that stands."""
    cfg = load_config(str(ROOT / f"configs/tiny/clip_vil_vqav2_{row}.py"))
    data = {
        f"{split}_dataloader.dataset.data_root": f"{world / 'vqa_lxmert'}/"
        for split in ("train", "val", "test")
    }
    cfg.merge_from_dict(
        {
            "work_dir": str(work_dir),
            "launcher": "none",
            "train_dataloader.batch_size": 24,
            "train_dataloader.batch_sampler.drop_last": False,
            "train_cfg.max_epochs": 2,
            "train_cfg.val_interval": 2,
            "param_scheduler.0.warmup": 0.25,
            **data,
            **options,
        }
    )
    return cfg


def test_the_committed_answers_are_those_of_the_world(world: Path) -> None:
    committed = json.loads((ROOT / "configs/tiny/clip_vil_answers.json").read_text())
    assert committed == json.loads((world / "vqa_lxmert/trainval_label2ans.json").read_text())
    rows = json.loads((world / "vqa_lxmert/minival.json").read_text())
    assert all(set(row["label"]) <= set(committed) for row in rows)
    assert {score for row in rows for score in row["label"].values()} <= {0.3, 0.6, 0.9, 1.0}


@pytest.mark.parametrize("row", ROWS)
def test_what_a_row_trains(row: str, world: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    model = build_model(config_of(row, world, tmp_path).model.to_dict())
    trained = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    want = {"unipt": {"adapter", "logit_fc"}, "linear_probe": {"logit_fc"}}
    assert trained == want.get(row, {"visual", "text", "logit_fc"})


def test_a_run_goes_on_inside_an_epoch(world: Path, tmp_path: Path, monkeypatch) -> None:
    """Batches of both orientations come as they would have come."""
    monkeypatch.chdir(ROOT)
    dataset = "uniadapter.datasets.lxmert_vqa.LxmertVQA.lying"
    # All photos of the world are square.
    monkeypatch.setattr(dataset, lambda self: [index % 3 > 0 for index in range(len(self))])
    saved = {
        "default_hooks.checkpoint.by_epoch": False,
        "default_hooks.checkpoint.interval": 1,
        "default_hooks.checkpoint.max_keep_ckpts": -1,
    }
    whole = build_runner(config_of("unipt", world, tmp_path / "whole", **saved))
    whole.train()
    last = whole.iter
    length = len(whole.train_dataloader)
    assert last == 2 * length
    assert whole.train_dataloader.batch_sampler.sampler.epoch == 1
    part = tmp_path / "part"
    part.mkdir()
    stopped = length + 1
    shutil.copy(tmp_path / f"whole/iter_{stopped}.pth", part)
    (part / "last_checkpoint").write_text(str(part / f"iter_{stopped}.pth"))
    resumed = build_runner(config_of("unipt", world, part, resume=True, **saved))
    resumed.train()
    files = [
        torch.load(f / f"iter_{last}.pth", weights_only=True) for f in (tmp_path / "whole", part)
    ]
    for key in ("state_dict", "optimizer", "param_schedulers"):
        assert_equal(files[0][key], files[1][key], key)
    assert not any(name.startswith(("visual.row", "text.")) for name in files[0]["state_dict"])
    metrics = resumed.test()
    assert 0 <= metrics["accuracy"] <= 100
    assert "question_type/is_there_a" in metrics
    for parameter in (*resumed.model.visual.parameters(), *resumed.model.text.parameters()):
        assert parameter.grad is None
