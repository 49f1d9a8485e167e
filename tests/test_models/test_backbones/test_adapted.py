"""Our adapters on other projects' backbones, by config, in mmpretrain's own runs."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.registry import MODELS as ROOT
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from PIL import Image

from uniadapter.engine.hooks import SafeCheckpointHook
from uniadapter.models import AdaptedBackbone
from uniadapter.utils.compat import mmpretrain_models

mmpretrain_models()
PIXELS = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
ADAPTER = {"type": "UniAdapter", "towers": ["visual"], "bottleneck": 4}
VIT = {
    "type": "mmpretrain.VisionTransformer",
    "arch": {"embed_dims": 16, "num_layers": 2, "num_heads": 2, "feedforward_channels": 32},
    "img_size": 32,
    "patch_size": 16,
}
BACKBONES = {
    "vit": VIT,
    "resnet": {"type": "mmpretrain.ResNet", "depth": 18},
    "convnext": {
        "type": "mmpretrain.ConvNeXt",
        "arch": {"depths": [1, 1, 1, 1], "channels": [8, 8, 16, 16]},
    },
}


def build(backbone: dict[str, Any], seed: int = 0, **options: Any) -> AdaptedBackbone:
    torch.manual_seed(seed)
    options = {"adapter": ADAPTER, **options}
    return ROOT.build({"type": "uniadapter.AdaptedBackbone", "backbone": backbone, **options})


def moved(model: AdaptedBackbone) -> AdaptedBackbone:
    """The same with an adapter that acts."""
    with torch.no_grad():
        for parameter in model.adapter.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


@pytest.mark.parametrize("name", BACKBONES)
def test_it_returns_what_the_backbone_returns(name):
    model = build(BACKBONES[name]).eval()
    with torch.no_grad():
        want = model.backbone(PIXELS)
        got = model(PIXELS)
        assert isinstance(got, tuple)
        # Up-projections start at zero.
        assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
        acting = moved(model)(PIXELS)
        assert not torch.allclose(acting[-1], want[-1], atol=1e-4)
        with model.adapter_disabled():
            assert torch.equal(model(PIXELS)[-1], want[-1])


@pytest.mark.parametrize("name", BACKBONES)
def test_only_the_adapter_is_trained(name):
    model = moved(build(BACKBONES[name])).train()
    before = copy.deepcopy(model.backbone.state_dict())
    model(PIXELS)[-1].sum().backward()
    for parameter_name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter_name.startswith("adapter."), parameter_name
    for tensor_name, tensor in model.backbone.state_dict().items():
        # Running means of batch norms among them.
        assert torch.equal(tensor, before[tensor_name]), tensor_name


def test_the_backbone_may_be_trained_as_well():
    model = build(VIT, train_backbone=True, adapter=None)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert set(model.state_dict()) == {f"backbone.{name}" for name in model.backbone.state_dict()}


def test_a_site_that_is_missing_is_named():
    with pytest.raises(ValueError, match=r"adapter\.towers names \['text', 'cross'\]"):
        build(VIT, adapter={"type": "UniAdapter"})
    with pytest.raises(ValueError, match="There is no chart 'LeNet5'"):
        build({"type": "mmpretrain.LeNet5"})


@pytest.fixture
def pretrained(tmp_path: Path) -> dict[str, Any]:
    """A backbone with weights in a file of its own."""
    torch.manual_seed(5)
    path = tmp_path / "vit.pth"
    torch.save(ROOT.build(VIT).state_dict(), path)
    return {**VIT, "init_cfg": {"type": "Pretrained", "checkpoint": str(path)}}


def test_weights_of_another_file_are_left_out_and_looked_at(pretrained, tmp_path):
    model = build(pretrained)
    whole = len(model.state_dict())
    model.init_weights()
    moved(model)
    state = model.state_dict()
    assert len(state) < whole
    assert set(state) == {*(f"adapter.{n}" for n in model.adapter.state_dict()), "backbone_sha256"}
    # Loading loads the backbone as well, where nobody did.
    other = build(pretrained, seed=1)
    other.load_state_dict(state)
    with torch.no_grad():
        assert torch.equal(other.eval()(PIXELS)[-1], model.eval()(PIXELS)[-1])
    with pytest.raises(ValueError, match="trained on a backbone with other weights"):
        build(VIT, seed=2).load_state_dict(state)
    # What was loaded over the file's weights is in no file, so it is kept.
    with torch.no_grad():
        model.backbone.cls_token.add_(1)
    assert len(model.state_dict()) == whole


def test_plain_averages_are_refused_where_weights_are_left_out(pretrained):
    """MMEngine's hook would look for the frozen weights in the state dict at the first save."""
    hook = SafeCheckpointHook(interval=1)
    runner: Any = SimpleNamespace(hooks=[EMAHook(), hook], _resume=False)
    runner.model = build(VIT)
    hook.before_run(runner)
    runner.model = torch.nn.Sequential(build(pretrained))
    with pytest.raises(ValueError, match=r"dict\(type='uniadapter\.EMAHook'\)"):
        hook.before_run(runner)


COLORS = [(200, 40, 40), (40, 200, 40), (40, 40, 200)]


def write_pictures(root: Path) -> None:
    generator = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        for label, color in enumerate(COLORS):
            folder = root / split / f"class_{label}"
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = np.clip(generator.normal(color, 40, (32, 32, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")


def runner_cfg(root: Path, work_dir: Path, backbone: dict[str, Any]) -> Config:
    def loader(split: str) -> dict[str, Any]:
        return {
            "batch_size": 8,
            "num_workers": 0,
            "sampler": {"type": "DefaultSampler", "shuffle": split == "train"},
            "dataset": {
                "type": "CustomDataset",
                "data_root": str(root / split),
                "pipeline": [{"type": "LoadImageFromFile"}, {"type": "PackInputs"}],
            },
        }

    return Config(
        {
            "default_scope": "mmpretrain",
            "custom_imports": {"imports": ["uniadapter"]},
            "work_dir": str(work_dir),
            "experiment_name": work_dir.name,
            "model": {
                "type": "ImageClassifier",
                "backbone": {
                    "type": "uniadapter.AdaptedBackbone",
                    "backbone": backbone,
                    "adapter": {**ADAPTER, "type": "uniadapter.UniAdapter"},
                },
                "head": {"type": "VisionTransformerClsHead", "num_classes": 3, "in_channels": 16},
                "data_preprocessor": {
                    "mean": [123.0] * 3,
                    "std": [60.0] * 3,
                    "to_rgb": True,
                },
            },
            "train_dataloader": loader("train"),
            "val_dataloader": loader("val"),
            "test_dataloader": loader("val"),
            "val_evaluator": {"type": "Accuracy"},
            "test_evaluator": {"type": "Accuracy"},
            "train_cfg": {"by_epoch": True, "max_epochs": 2},
            "val_cfg": {},
            "test_cfg": {},
            "optim_wrapper": {"optimizer": {"type": "AdamW", "lr": 0.02}},
            # MMEngine's own writes files that torch refuses to load without unpickling.
            "default_hooks": {"checkpoint": {"type": "uniadapter.SafeCheckpointHook"}},
            "randomness": {"seed": 0},
            "visualizer": {"type": "Visualizer"},
        }
    )


def test_mmpretrains_classifier_learns_with_its_own_vit(pretrained, tmp_path):
    write_pictures(tmp_path / "pictures")
    backbone = {**pretrained, "type": "VisionTransformer"}
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        runner = Runner.from_cfg(runner_cfg(tmp_path / "pictures", tmp_path / "run", backbone))
        model = runner.train()
        accuracy = runner.test()["accuracy/top1"]
        assert accuracy > 60, "three colours are easily told apart"
        frozen = [n for n, p in model.named_parameters() if not p.requires_grad]
        assert frozen
        assert all(name.startswith("backbone.backbone.") for name in frozen)
        saved = torch.load(tmp_path / "run/epoch_2.pth", weights_only=True)["state_dict"]
        assert not [name for name in saved if name.startswith("backbone.backbone.")]
        # Another process would test from the adapter's file and the backbone's own.
        cfg = runner_cfg(tmp_path / "pictures", tmp_path / "test", backbone)
        cfg.load_from = str(tmp_path / "run/epoch_2.pth")
        torch.manual_seed(9)
        again = Runner.from_cfg(cfg)
        assert again.test()["accuracy/top1"] == accuracy
        # And go on from it.
        cfg = runner_cfg(tmp_path / "pictures", tmp_path / "run", backbone)
        cfg.resume, cfg.experiment_name, cfg.train_cfg.max_epochs = True, "resumed", 3
        resumed = Runner.from_cfg(cfg)
        resumed.train()
        assert resumed.iter == 9
