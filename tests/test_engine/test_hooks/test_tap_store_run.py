"""Taps on disk through the command: the run with the towers, from disk, and resumed."""

from __future__ import annotations

import json
import shutil
from typing import Any

import torch

from tests.helpers import load_tool, write_run_cfg
from tests.test_engine.test_hooks import test_tap_store as alone
from uniadapter.engine.hooks import tap_store

train = load_tool("train.py")


def test_a_run_and_a_resumed_one(tmp_path, monkeypatch):
    """Through the command: with the towers, from disk, and from disk in two parts."""
    root = alone.write_world(tmp_path, media=6)
    records: dict[str, Any] = {}
    counted = []
    original = tap_store.states_of
    monkeypatch.setattr(tap_store, "states_of", lambda *args: counted.append(1) or original(*args))
    for name, hook in (("plain", False), ("kept", True)):
        folder = tmp_path / name
        cfg: dict[str, Any] = {
            "model": alone.model_cfg(root),
            "train_dataloader": {
                "batch_size": 4,
                "num_workers": 0,
                "sampler": {"type": "DefaultSampler", "shuffle": True},
                "dataset": alone.dataset_cfg(root),
            },
            "train_cfg": {"max_epochs": 2},
            "val_cfg": None,
            "test_cfg": None,
            "optim_wrapper": {"optimizer": {"lr": 1e-2}},
            "custom_imports": {"imports": ["uniadapter", "tests.recorder"]},
            "custom_hooks": [{"type": "LossRecorder", "path": str(folder / "record.json")}],
            "default_hooks": {"checkpoint": {"max_keep_ckpts": -1}},
        }
        if hook:
            taps = {"type": "TapStoreHook", "dir": str(root / "taps"), "dtype": "float32"}
            cfg["custom_hooks"].append(taps)
        folder.mkdir()
        path = write_run_cfg(folder / "cfg.py", cfg)
        train.main([str(path), "--work-dir", str(folder)])
        records[name] = json.loads((folder / "record.json").read_text())
    assert len(counted) == 6
    flat = {name: torch.tensor(_numbers(record)) for name, record in records.items()}
    torch.testing.assert_close(flat["kept"], flat["plain"], atol=1e-4, rtol=1e-3)
    resumed = tmp_path / "resumed"
    resumed.mkdir()
    shutil.copy(tmp_path / "kept" / "epoch_1.pth", resumed)
    (resumed / "last_checkpoint").write_text(str(resumed / "epoch_1.pth"))
    train.main([str(tmp_path / "kept" / "cfg.py"), "--work-dir", str(resumed), "--resume"])
    assert len(counted) == 6
    states = [
        torch.load(p / "epoch_2.pth", weights_only=True) for p in (resumed, tmp_path / "kept")
    ]
    for name, tensor in states[0]["state_dict"].items():
        assert torch.equal(tensor, states[1]["state_dict"][name]), name


def _numbers(value: Any) -> list[float]:
    """All numbers of nested lists and dicts, in order."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for part in value for number in _numbers(part)]
    return [float(value)] if isinstance(value, int | float) else []
