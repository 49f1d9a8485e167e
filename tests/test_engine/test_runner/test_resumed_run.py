"""A checkpoint resumed under another config: what is in force, and that it is said."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers import load_tool, tiny_run_cfg, write_run_cfg

train = load_tool("train.py")


def config(world: Path, folder: Path, changes: dict[str, Any], by_epoch: bool = True) -> Path:
    """A run of 3 epochs with 2 iterations each; ``changes`` by dotted keys."""
    cfg = tiny_run_cfg(world, epochs=3, random=False)
    cfg["val_cfg"] = cfg["val_dataloader"] = cfg["val_evaluator"] = None
    cfg["default_hooks"]["checkpoint"] = {
        "by_epoch": by_epoch,
        "max_keep_ckpts": -1,
        "export_adapter": False,
    }
    for key, value in changes.items():
        node: Any = cfg
        *parents, last = key.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    folder.mkdir(exist_ok=True)
    # MMEngine names runs by the second, and two of one name share a logger.
    cfg["experiment_name"] = f"{folder.parent.name}_{folder.name}"
    return write_run_cfg(folder / "cfg.py", cfg)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, tiny_world: Path) -> Path:
    """Folder of the run of the unchanged config, saved after each iteration as well."""
    folder = tmp_path_factory.mktemp("first")
    train.main([str(config(tiny_world, folder, {})), "--work-dir", str(folder)])
    inside = folder / "inside"
    path = config(tiny_world, inside, {}, by_epoch=False)
    train.main([str(path), "--work-dir", str(inside)])
    return folder


def read(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def resume(first: Path, tmp_path: Path, world: Path, changes: dict[str, Any], file: str) -> str:
    """Resume with changes, return the log."""
    folder = tmp_path / "resumed"
    path = config(world, folder, changes)
    shutil.copy(first / file, folder)
    name = Path(file).name
    train.main([str(path), "--work-dir", str(folder), "--resume", str(folder / name)])
    return next(folder.glob("*/*.log")).read_text(encoding="utf-8")


def warned(log: str) -> str:
    """The warning's lines."""
    start = log.find("is not the run of this config")
    return "" if start < 0 else log[start : log.find("mmengine - INFO", start)]


def rates(folder: Path, epoch: int) -> list[float]:
    return [
        group["lr"] for group in read(folder / f"epoch_{epoch}.pth")["optimizer"]["param_groups"]
    ]


def test_the_same_config_warns_of_nothing(first: Path, tmp_path: Path, tiny_world: Path):
    log = resume(first, tmp_path, tiny_world, {}, "epoch_1.pth")
    assert not warned(log)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train_cfg.max_epochs": 5}, ["T_max 6 before, 10 now"]),
        ({"optim_wrapper.optimizer.lr": 5e-4}, ["optimizer.lr: 0.001 before, 0.0005 from"]),
        (
            {"param_scheduler": [{"type": "MultiStepLR", "milestones": [2], "by_epoch": True}]},
            ["milestones"],
        ),
        ({"param_scheduler": [{"type": "CosineAnnealingLR", "T_max": 8, "by_epoch": False}]}, []),
    ],
)
def test_rates_are_those_that_a_run_of_the_new_config_has(
    first: Path, tmp_path: Path, tiny_world: Path, changes: dict[str, Any], words: list[str]
):
    log = warned(resume(first, tmp_path, tiny_world, changes, "epoch_1.pth"))
    assert log
    for word in words:
        assert word in log
    fresh = tmp_path / "fresh"
    train.main([str(config(tiny_world, fresh, changes)), "--work-dir", str(fresh)])
    for epoch in (2, 3):
        assert rates(tmp_path / "resumed", epoch) == rates(fresh, epoch)
    assert rates(fresh, 2) != rates(first, 2)


def test_constants_of_the_optimizer_are_the_configs(first: Path, tmp_path: Path, tiny_world: Path):
    changes = {"optim_wrapper.optimizer.weight_decay": 0.2}
    log = warned(resume(first, tmp_path, tiny_world, changes, "epoch_1.pth"))
    assert "optimizer.weight_decay: 0.05 before, 0.2 from here on" in log
    group = read(tmp_path / "resumed/epoch_2.pth")["optimizer"]["param_groups"][0]
    assert group["weight_decay"] == 0.2
    assert rates(tmp_path / "resumed", 3) == pytest.approx(rates(first, 3))


def test_another_batch_size_goes_on_at_the_same_epoch(
    first: Path, tmp_path: Path, tiny_world: Path
):
    changes = {"train_dataloader.batch_size": 4}
    log = warned(resume(first, tmp_path, tiny_world, changes, "epoch_1.pth"))
    assert "train_dataloader.batch_size: 8 before, 4 from here on" in log
    assert "iteration 4 instead of 2" in log
    fresh = tmp_path / "fresh"
    train.main([str(config(tiny_world, fresh, changes)), "--work-dir", str(fresh)])
    assert read(tmp_path / "resumed/epoch_3.pth")["meta"]["iter"] == 12
    assert rates(tmp_path / "resumed", 2) == rates(fresh, 2)


def test_model_options_are_named(first: Path, tmp_path: Path, tiny_world: Path):
    log = warned(resume(first, tmp_path, tiny_world, {"model.alpha": 0.1}, "epoch_1.pth"))
    assert "alpha=0.1" in log


def test_the_seed_is_the_files(first: Path, tmp_path: Path, tiny_world: Path):
    log = warned(resume(first, tmp_path, tiny_world, {"randomness.seed": 5}, "epoch_1.pth"))
    assert "randomness.seed: the file's 0 is used, 5 is not" in log
    expected, found = (read(f / "epoch_3.pth")["state_dict"] for f in (first, tmp_path / "resumed"))
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name


@pytest.mark.parametrize(
    ("changes", "file", "message"),
    [
        ({"optim_wrapper.optimizer.type": "Adam"}, "epoch_1.pth", r"optimizer is \['AdamW'\]"),
        ({"train_dataloader.batch_size": 4}, "inside/iter_3.pth", "saved inside an epoch.*was 8"),
        ({"optim_wrapper.paramwise_cfg.no_decay_norm_bias": True}, "epoch_1.pth", "groups"),
    ],
)
def test_what_fits_neither_is_refused(
    first: Path,
    tmp_path: Path,
    tiny_world: Path,
    changes: dict[str, Any],
    file: str,
    message: str,
):
    with pytest.raises((ValueError, SystemExit), match=message):
        resume(first, tmp_path, tiny_world, changes, file)
