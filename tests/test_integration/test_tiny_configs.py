"""The configs on the embedded data: they build, train a step and test on a small world."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.helpers import ROOT
from uniadapter.apis.model import build_model
from uniadapter.models.adapters.state import count_parameters
from uniadapter.utils.config import load_config

TINY = sorted((ROOT / "configs" / "tiny").glob("*.py"))
BACKBONE = ROOT / "configs" / "pretrain" / "blip_tiny.safetensors"
PRETRAIN = ROOT / "configs" / "pretrain" / "blip_tiny.py"
SMALL = {"train-videos": 8, "test-videos": 6, "stills": 12}


def load_tool(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tool = load_tool("make_toy_world", ROOT / "tools/dataset_converters/make_toy_world.py")
    out = tmp_path_factory.mktemp("toy") / "world"
    options = [part for key, value in SMALL.items() for part in (f"--{key}", str(value))]
    tool.main(["--out", str(out), *options])
    return out


@pytest.mark.parametrize("path", [*TINY, PRETRAIN], ids=lambda path: path.stem)
def test_config_builds_and_takes_the_committed_backbone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    model = build_model(load_config(str(path)).model.to_dict())
    state = load_file(BACKBONE)
    own = model.state_dict()
    for prefix in (*model.towers(), *model.heads()):
        expected = {name for name in own if name.startswith(f"{prefix}.")}
        assert expected == {name for name in state if name.startswith(f"{prefix}.")}
        assert all(own[name].shape == state[name].shape for name in expected)


def test_the_committed_backbone_is_the_one_of_the_metafile() -> None:
    models = yaml.safe_load((PRETRAIN.parent / "metafile.yml").read_text())["Models"]
    entry = next(model for model in models if model["Weights"].endswith(BACKBONE.name))
    assert hashlib.sha256(BACKBONE.read_bytes()).hexdigest() == entry["SHA256"]
    assert BACKBONE.stat().st_size < 10 * 2**20


def test_what_each_row_of_the_quickstart_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    counts = {}
    for path in TINY:
        model = build_model(load_config(str(path)).model.to_dict())
        counts[path.stem] = count_parameters(model)
    heads = 2 * (128 * 64 + 64) + 128 * 2 + 2
    adapter = 4 * ((128 * 32 + 32) + 3 * (32 * 128 + 128))
    assert counts["msrvtt_linear_probe"]["trainable"] == heads + 1
    assert counts["msrvtt_r32"]["trainable"] == adapter + heads + 1
    full = counts["msrvtt_full_finetune"]
    assert full["trainable"] == full["total"]


def options_for(world: Path) -> list[str]:
    videos = f"{world / 'msrvtt'}/"
    return [
        "train_cfg.max_epochs=1",
        "test_cfg.k_test=4",
        "val_cfg.k_test=4",
        "train_dataloader.batch_size=6",
        "train_dataloader.dataset.indices=6",
        f"train_dataloader.dataset.data_root={videos}",
        f"val_dataloader.dataset.data_root={videos}",
        f"test_dataloader.dataset.data_root={videos}",
    ]


def test_a_row_of_the_quickstart_trains_tests_and_draws(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    train = load_tool("tools_train", ROOT / "tools" / "train.py")
    test = load_tool("tools_test", ROOT / "tools" / "test.py")
    draw = load_tool("draw_rankings", ROOT / "tools" / "visualization" / "draw_rankings.py")
    config = "configs/tiny/msrvtt_r32.py"
    folder = tmp_path / "row"
    common = ["--work-dir", str(folder), "--cfg-options", *options_for(world)]
    train.main([config, "--no-validate", *common])
    checkpoint = (folder / "last_checkpoint").read_text().strip()
    ranking = folder / "ranking.json"
    out = folder / "metrics.json"
    test.main([config, checkpoint, "--out", str(out), *common, f"test_cfg.dump={ranking}"])
    metrics = json.loads(out.read_text())
    assert {"t2v/R1", "t2v/R5", "t2v/R10"} <= set(metrics)
    draw.main([str(ranking), str(folder / "queries.png"), "--queries", "2"])
    assert (folder / "queries.png").is_file()


def test_a_step_of_pretraining_on_the_stills(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    train = load_tool("tools_train", ROOT / "tools" / "train.py")
    publish = load_tool("publish_model", ROOT / "tools/model_converters/publish_model.py")
    stills = f"{world / 'stills'}/"
    options = [
        "train_cfg.max_epochs=1",
        "train_dataloader.batch_size=4",
        "train_dataloader.dataset.indices=4",
        f"train_dataloader.dataset.data_root={stills}",
    ]
    train.main(
        [str(PRETRAIN), "--no-validate", "--work-dir", str(tmp_path), "--cfg-options", *options]
    )
    checkpoint = (tmp_path / "last_checkpoint").read_text().strip()
    publish.publish(checkpoint, tmp_path / "backbone.safetensors")
    published, committed = load_file(tmp_path / "backbone.safetensors"), load_file(BACKBONE)
    assert {k: v.shape for k, v in published.items()} == {k: v.shape for k, v in committed.items()}
    assert all(torch.isfinite(value).all() for value in published.values())
