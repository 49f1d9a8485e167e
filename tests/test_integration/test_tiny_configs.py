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
from tests.model_helpers import Uninitialised
from uniadapter.apis.model import build_model
from uniadapter.models.adapters.state import count_parameters
from uniadapter.utils.config import load_config

TINY = sorted((ROOT / "configs" / "tiny").glob("*.py"))
PRETRAIN = sorted((ROOT / "configs" / "pretrain").glob("*.py"))
# MDETR's has pictures of its own (test_mdetr_twin.py).
ON_STILLS = [path for path in PRETRAIN if path.stem != "mdetr_tiny"]
FIGURES = yaml.safe_load((ROOT / "configs/pretrain/metafile.yml").read_text())["Models"]
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


def stem(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", [*TINY, *PRETRAIN], ids=stem)
def test_config_builds_and_takes_the_committed_backbone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    cfg = load_config(str(path)).model.to_dict()
    with Uninitialised(), torch.device("meta"):
        model = build_model(cfg)
    state = load_file(cfg.get("pretrained") or path.with_suffix(".safetensors"))
    own = model.state_dict()
    # What a task begins anew stands in no backbone's file.
    for prefix in (*model.towers(), *sorted(set(model.heads()) - model.new_heads())):
        expected = {name for name in own if name.startswith(f"{prefix}.")}
        assert expected == {name for name in state if name.startswith(f"{prefix}.")}
        assert all(own[name].shape == state[name].shape for name in expected)


@pytest.mark.parametrize("path", PRETRAIN, ids=stem)
def test_the_committed_backbone_is_the_one_of_the_metafile(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (entry,) = (model for model in FIGURES if model["Name"] == path.stem)
    weights = path.with_suffix(".safetensors")
    assert entry["Config"] == str(path.relative_to(ROOT))
    assert entry["Weights"] == str(weights.relative_to(ROOT))
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == entry["SHA256"]
    assert weights.stat().st_size < (10 if path.stem == "blip_tiny" else 4) * 2**20
    state = load_file(weights)
    monkeypatch.chdir(ROOT)
    with Uninitialised(), torch.device("meta"):
        model = build_model(load_config(str(path)).model.to_dict())
    # Batch norms have buffers beside them, frozen ones nothing else.
    names = {name for name, _ in model.named_parameters()}
    total = sum(tensor.numel() for name, tensor in state.items() if name in names)
    assert entry["Metadata"]["Parameters"]["total"] == total


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole twin of Flickr30K, which is quickly drawn."""
    tool = load_tool("make_toy_world", ROOT / "tools/dataset_converters/make_toy_world.py")
    out = tmp_path_factory.mktemp("photos") / "world"
    few = ["--stills", "0", "--train-videos", "1", "--test-videos", "1"]
    tool.main(["--out", str(out), *few, "--parts", "flickr30k"])
    return out / "flickr30k"


@pytest.mark.parametrize("name", ["beit3", "clip"])
def test_zero_shot_figures_come_out_again(
    name: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    test = load_tool("tools_test", ROOT / "tools" / "test.py")
    config = f"configs/tiny/flickr30k_{name}_zero_shot.py"
    weights = f"configs/pretrain/{name}_tiny.safetensors"
    out = tmp_path / "metrics.json"
    data = f"test_dataloader.dataset.data_root={photos}/"
    folder = ["--work-dir", str(tmp_path), "--out", str(out)]
    test.main([config, weights, *folder, "--cfg-options", data])
    found = json.loads(out.read_text())
    models = yaml.safe_load((ROOT / "configs/tiny/metafile.yml").read_text())["Models"]
    (entry,) = (model for model in models if model["Config"] == config)
    for measure, value in entry["Results"][0]["Metrics"].items():
        # Another machine's rounding may exchange a rank or two.
        assert found[measure.replace(" R@", "/R")] == pytest.approx(value, abs=1.0)
    assert found["t2i/R10"] > 3 * 100 * 10 / 250


def test_what_each_row_of_the_quickstart_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    counts = {}
    for name in ("msrvtt_linear_probe", "msrvtt_r32", "msrvtt_full_finetune"):
        with Uninitialised(), torch.device("meta"):
            model = build_model(load_config(f"configs/tiny/{name}.py").model.to_dict())
        counts[name] = count_parameters(model)
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


@pytest.mark.parametrize("path", ON_STILLS, ids=stem)
def test_a_step_of_pretraining_on_the_stills(
    path: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    train.main([str(path), "--no-validate", "--work-dir", str(tmp_path), "--cfg-options", *options])
    checkpoint = (tmp_path / "last_checkpoint").read_text().strip()
    publish.publish(checkpoint, tmp_path / "backbone.safetensors")
    published, committed = (
        load_file(tmp_path / "backbone.safetensors"),
        load_file(path.with_suffix(".safetensors")),
    )
    assert {k: v.shape for k, v in published.items()} == {k: v.shape for k, v in committed.items()}
    assert all(torch.isfinite(value).all() for value in published.values())
