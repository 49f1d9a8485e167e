"""The projects' configs train, test and save what they say, on a few pictures."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.registry import DefaultScope
from safetensors.torch import load_file

from projects.make_data import write
from tests.helpers import ROOT, load_tool
from uniadapter.engine.runner.check_options import check_options
from uniadapter.engine.runner.check_values import check_values
from uniadapter.models.build import check_model_cfg
from uniadapter.registry import DATASETS, MODELS

train, test = load_tool("train.py"), load_tool("test.py")
FOLDERS = sorted(path.parent for path in (ROOT / "projects").glob("*/configs"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pictures of each kind for training, four for testing."""
    folder = tmp_path_factory.mktemp("data") / "projects"
    write(folder, {"train": 8, "test": 4})
    return folder


def options(data: Path, config: str, epochs: int = 1) -> list[str]:
    """Where the pictures are, and how long."""
    classes = "vit" in config or "mixer" in config
    ends = {"train": "/train", "val": "/test", "test": "/test"} if classes else {}
    found = [f"train_cfg.max_epochs={epochs}"]
    for split in ("train", "val", "test"):
        found.append(f"{split}_dataloader.dataset.data_root={data}{ends.get(split, '/')}")
    return ["--cfg-options", *found]


def run(data: Path, out: Path, path: str) -> tuple[dict[str, Any], dict[str, float]]:
    """Train an epoch and test it; the checkpoint, and the metrics."""
    config = f"projects/{path}.py"
    given = ["--work-dir", str(out), *options(data, path)]
    train.main([config, "--no-validate", *given])
    metrics = out / "metrics.json"
    test.main([config, str(out / "epoch_1.pth"), "--out", str(metrics), *given])
    return torch.load(out / "epoch_1.pth", weights_only=True), json.loads(metrics.read_text())


CLASSIFIER = ("backbone.adapter.", "head.")
RETRIEVAL = ("adapter.", "vision_proj", "text_proj")
RUNS = [
    ("other_scope/configs/video_text_pfa", ("frames.", "words.", "contrast."), "t2v/R1"),
    ("transformers_clip/configs/clip_uniadapter", ("adapters.",), "t2i/R1"),
]
# What they are made of runs in the core suite as well: below, and as blocks of the tutorial.
FURTHER = [
    ("new_backbone/configs/mixer_uniadapter", CLASSIFIER, "accuracy/top1"),
    ("mmpretrain_vit/configs/vit_uniadapter", CLASSIFIER, "accuracy/top1"),
    ("mmpretrain_vit/configs/vit_lora", CLASSIFIER, "accuracy/top1"),
    ("new_method/configs/two_terms_r4", RETRIEVAL, "t2i/R1"),
    ("new_dataset/configs/table_r8", RETRIEVAL, "i2t/R10"),
]


@pytest.mark.parametrize(
    ("path", "trained", "metric"),
    [*RUNS, *(pytest.param(*row, marks=pytest.mark.deep) for row in FURTHER)],
)
def test_a_project_trains_and_tests(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    trained: tuple[str, ...],
    metric: str,
):
    monkeypatch.chdir(ROOT)
    saved, metrics = run(data, tmp_path, path)
    names = {name for group in saved["optimizer_names"] for name in group}
    assert names
    scalars = ("temp", "itm_head.")
    assert all(name.startswith((*trained, *scalars)) for name in names)
    assert all(any(name.startswith(part) for name in names) for part in trained)
    assert 0 <= metrics[metric] <= 100
    if path.startswith("new_"):
        exported = tmp_path / "epoch_1_adapter/adapter_model.safetensors"
        assert exported.is_file() == (not path.startswith("new_backbone"))
        if exported.is_file():
            assert all(torch.isfinite(tensor).all() for tensor in load_file(exported).values())


@pytest.mark.parametrize("path", [row[0] for row in [*RUNS, *FURTHER]])
def test_a_config_is_one_that_a_run_takes(data: Path, monkeypatch: pytest.MonkeyPatch, path: str):
    monkeypatch.chdir(ROOT)
    given = train.parse_args([f"projects/{path}.py", *options(data, path)])
    cfg = train.build_config(given)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        check_model_cfg(cfg.model, foreign=cfg.default_scope != "uniadapter")
        check_options(cfg)
        check_values(cfg)


def test_a_classifier_of_mmpretrain_s_resumes_with_averages(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(ROOT)
    finals = []
    for name in ("whole", "parts"):
        folder = tmp_path / name
        config = "projects/mmpretrain_vit/configs/vit_uniadapter.py"
        given = [config, "--no-validate", "--work-dir", str(folder), *options(data, config, 2)]
        if finals:
            folder.mkdir()
            first = (finals[0].with_name("epoch_1.pth")).read_bytes()
            (folder / "epoch_1.pth").write_bytes(first)
            given.insert(1, str(folder / "epoch_1.pth"))
            given.insert(1, "--resume")
        train.main(given)
        finals.append(folder / "epoch_2.pth")
    whole, parts = (torch.load(path, weights_only=True) for path in finals)
    for part in ("state_dict", "ema_state_dict"):
        for name, value in whole[part].items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, parts[part][name]), name


@pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is not None, reason="tensorboard is installed"
)
def test_a_tracker_that_is_missing_is_named(data: Path, tmp_path: Path):
    config = str(ROOT / "projects/trackers/configs/tensorboard.py")
    message = r"vis_backends\.1\.type='TensorboardVisBackend' needs the package tensorboard"
    with pytest.raises(SystemExit, match=f"error: .*{message}"):
        train.main([config, "--work-dir", str(tmp_path), *options(data, config)])


@pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed"
)
def test_tensorboard_gets_the_losses(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    run(data, tmp_path, "trackers/configs/tensorboard")
    # MMEngine logs a test to its own file alone.
    logs = [path.read_bytes() for path in tmp_path.glob("*/vis_data/events.out.tfevents.*")]
    assert any(b"loss_itc" in log for log in logs)
    assert list(tmp_path.glob("*/vis_data/scalars.json"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_a_project_says_how_it_is_run(folder: Path):
    page = (folder / "README.md").read_text(encoding="utf-8")
    named = [line for line in page.splitlines() if "tools/train.py" in line]
    assert named
    for line in named:
        assert (ROOT / line.split("tools/train.py ")[1]).is_file()
    for config in (folder / "configs").glob("*.py"):
        first, second = config.read_text(encoding="utf-8").splitlines()[:2]
        assert first.endswith(str(config.relative_to(ROOT)))
        assert second.startswith("# ")
    table = (ROOT / "projects/README.md").read_text(encoding="utf-8")
    assert f"({folder.name})" in table


@pytest.fixture(autouse=True, scope="module")
def forget_the_projects():
    """Their names are free again for the tests that come after."""
    yield
    for name in ("TwoTerms", "Mixer", "AdaptedCLIP"):
        MODELS.module_dict.pop(name, None)
    DATASETS.module_dict.pop("CaptionTable", None)
    for name, instance in list(DefaultScope._instance_dict.items()):
        if instance.scope_name == "mmpretrain":
            del DefaultScope._instance_dict[name]
