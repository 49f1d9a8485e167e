"""Every config of the twins reads its data and trains a step, and trains what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from tests.helpers import ROOT
from tests.toy_parts import draw_parts
from uniadapter.apis.model import build_model
from uniadapter.registry import DATASETS
from uniadapter.utils.config import load_config

PARTS = {"didemo": "didemo", "coco": "coco", "flickr30k": "flickr30k", "coco_caption": "coco"}
PARTS |= {"vqav2": "vqav2", "msrvttqa": "msrvtt_qa"}
PARTS |= {f"flickr30k_{name}": "flickr30k" for name in ("blip_large", "albef", "beit3", "clip")}
METHODS = ("r32", "linear_probe", "full_finetune")
TWINS = [(benchmark, method) for benchmark in PARTS for method in METHODS]
# UniPT's own backbones have it in UniAdapter's place.
PARTS["flickr30k_vse"] = "flickr30k"
TWINS += [("flickr30k_vse", method) for method in ("unipt", "linear_probe", "full_finetune")]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_parts(tmp_path_factory.mktemp("twins") / "world")


@pytest.mark.parametrize(("benchmark", "method"), TWINS)
def test_a_step(benchmark: str, method: str, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    cfg = load_config(f"configs/tiny/{benchmark}_{method}.py")
    root = world / PARTS[benchmark]
    if "answer_list" in cfg.model:
        cfg.model.answer_list = str(root / "answer_list.json")
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
    # Two steps: the up-projections start at zero, so the first one moves nothing before them.
    for _ in range(2):
        losses = model.train_step(pseudo_collate([data["train"][i] for i in range(4)]), optimizer)
    assert all(torch.isfinite(value).all() for value in losses.values())
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert moved
    assert moved <= trained
    in_towers = {name for name in trained if name.split(".")[0] in model.towers()}
    head = {name for name in in_towers if name.startswith("decoder.cls.")}
    if method == "full_finetune":
        assert trained == set(before)
    else:
        assert in_towers == head
        assert bool(head) == (benchmark in ("vqav2", "msrvttqa", "coco_caption"))
    assert any(n.startswith("adapter.") for n in moved) == (method in ("r32", "unipt"))
    assert len(data["test"]) > 0


class _Holder:
    """What Runner.build_optim_wrapper looks at."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model
