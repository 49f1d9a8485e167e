"""The configs of easy-VQA train and test as they stand, on a few questions of the package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import load_file

from tests.helpers import ROOT
from uniadapter.engine.runner.build import build_runner

pytestmark = pytest.mark.skipif(
    find_spec("easy_vqa") is None, reason="the data are not here: pip install easy-vqa"
)


def is_trained(config: str, key: str) -> bool:
    """Whether a config trains this tensor of the backbone: the head alone, or everything."""
    return config == "full_finetune" or key.startswith("decoder.cls.")


@pytest.mark.parametrize("name", ["r64", "linear_probe", "full_finetune"])
def test_two_steps_and_a_test(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    cfg = Config.fromfile(f"configs/easy_vqa/{name}.py")
    cfg.merge_from_dict(
        {
            "work_dir": str(tmp_path),
            "launcher": "none",
            "train_cfg.max_epochs": 1,
            "train_dataloader.batch_size": 4,
            "train_dataloader.dataset.indices": 8,
            "val_dataloader.dataset.indices": 30,
            "test_dataloader.dataset.indices": 30,
        }
    )
    runner = build_runner(cfg)
    runner.train()
    backbone = load_file(cfg.model.pretrained)
    for key, value in runner.model.named_parameters():
        # Position embeddings are interpolated to the pictures' size; adapters are in no backbone.
        if key in backbone and key != "visual.pos_embed":
            same = torch.equal(value, backbone[key])
            assert same != is_trained(name, key), key
            assert value.requires_grad == is_trained(name, key), key
    if name == "r64":
        ups = [p for key, p in runner.model.named_parameters() if ".up." in key and p.ndim == 2]
        assert ups
        assert all(p.abs().max() > 0 for p in ups)
    metrics = runner.test()
    assert 0 <= metrics["accuracy"] <= 100
    assert {f"question_type/{kind}" for kind in ("color", "shape", "yes_no")} <= set(metrics)
