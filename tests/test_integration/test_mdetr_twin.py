"""Every config of MDETR's twin reads its data and trains a step, and trains what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from tests.helpers import ROOT
from tests.toy_parts import load_tool
from uniadapter.apis.model import build_model
from uniadapter.registry import DATASETS
from uniadapter.utils.config import load_config

HEADS = ("class_embed", "bbox_embed", "contrastive_align_projection_")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tool = load_tool("dataset_converters/make_toy_world.py")
    out = tmp_path_factory.mktemp("twin") / "world"
    sizes = ["--stills", "0", "--train-videos", "1", "--test-videos", "1", "--share", "0.005"]
    tool.main(["--out", str(out), *sizes, "--parts", "refcoco"])
    return out / "refcoco"


class _Holder:
    """What Runner.build_optim_wrapper looks at."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model


@pytest.mark.parametrize("method", ["unipt", "linear_probe", "full_finetune", "pretrain"])
def test_a_step(method: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    leaf = "configs/pretrain/mdetr_tiny.py"
    cfg = load_config(leaf if method == "pretrain" else f"configs/tiny/mdetr_{method}.py")
    torch.manual_seed(0)
    model = build_model(cfg.model.to_dict())
    model.init_weights()
    with DefaultScope.overwrite_default_scope("uniadapter"):
        data = {}
        for split in ("train", "test"):
            options = {**cfg[f"{split}_dataloader"].dataset.to_dict(), "data_root": str(root)}
            data[split] = DATASETS.build(options)
        optimizer = Runner.build_optim_wrapper(_Holder(model), cfg.optim_wrapper)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    losses = model.train_step(pseudo_collate([data["train"][i] for i in range(4)]), optimizer)
    assert all(torch.isfinite(value).all() for value in losses.values())
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert moved
    assert moved <= trained
    own = {name for name in trained if name.startswith(("adapter.", *HEADS))}
    assert any(name.startswith("adapter.") for name in moved) == (method == "unipt")
    if method in ("unipt", "linear_probe"):
        assert trained == own
    else:
        stem = {n for n in before if n.startswith(("visual.conv1", "visual.layer1"))}
        assert trained == set(before) - (set() if method == "pretrain" else stem)
    samples = model.test_step(pseudo_collate([data["test"][i] for i in range(2)]))
    assert all(len(sample.pred_boxes) == model.detr.num_queries for sample in samples)
