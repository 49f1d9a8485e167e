"""Two gloo processes compute what one process computes at the same global batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers import load_tool, run, tiny_run_cfg, write_run_cfg
from tests.spawn import free_port, run_tool_apart

train = load_tool("train.py")


def write_cfg(folder: Path, world: Path, batch_size: int) -> Path:
    """Nothing random but the order of the data and the drawn negatives; 5 test clips, ragged."""
    cfg = tiny_run_cfg(world, batch_size=batch_size, random=False)
    cfg["custom_imports"] = {"imports": ["uniadapter", "tests.recorder"]}
    cfg["custom_hooks"] = [
        {"type": "AlphaRampHook"},
        {"type": "LossRecorder", "path": str(folder / "record.json")},
    ]
    # With epsilon at the size of rounding, AdamW would turn noise into whole steps.
    cfg["optim_wrapper"]["optimizer"]["eps"] = 1e-4
    cfg["val_dataloader"]["batch_size"] = 2
    cfg["val_dataloader"]["dataset"]["indices"] = 5
    cfg["val_cfg"]["k_test"] = 3
    return write_run_cfg(folder / "cfg.py", cfg)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, tiny_world: Path) -> Path:
    """Folder of the run with one process and batches of eight."""
    folder = tmp_path_factory.mktemp("one")
    train.main([str(write_cfg(folder, tiny_world, 8)), "--work-dir", str(folder)])
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, tiny_world: Path) -> Path:
    """Folder of the run with two processes and batches of four each, by the real command."""
    folder = tmp_path_factory.mktemp("two")
    cfg = write_cfg(folder, tiny_world, 4)
    done = run("bash", "tools/dist_train.sh", cfg, "2", "--work-dir", folder, PORT=str(free_port()))
    assert done.returncode == 0, done.stderr
    return folder


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "record.json").read_text())


def test_losses_and_batches_are_equal(one: Path, two: Path):
    expected, found = record(one)["losses"], record(two)["losses"]
    assert len(expected) == len(found) == 4
    for a, b in zip(expected, found, strict=True):
        assert a.pop("media") == b.pop("media")
        assert b == pytest.approx(a, abs=2e-5)
    # The losses move, or equality would mean little.
    assert len({round(a["loss"], 3) for a in expected}) == 4


def test_weights_queue_and_averages_are_equal(one: Path, two: Path):
    expected, found = (
        torch.load(path / "epoch_2.pth", weights_only=True)["state_dict"] for path in (one, two)
    )
    assert list(expected) == list(found)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=2e-5, msg=name)
    assert int(found["queue.ptr"]) == 4 * 8 % len(found["queue.ids"])


def test_metrics_are_equal(one: Path, two: Path):
    expected, found = record(one)["metrics"], record(two)["metrics"]
    assert len(expected) == 2
    assert "t2v/R1" in expected[0]
    assert expected == found


@pytest.mark.parametrize(
    "resumed_by", ["FlexibleRunner", pytest.param("Runner", marks=pytest.mark.deep)]
)
def test_resuming_two_processes_inside_an_epoch(tiny_world: Path, tmp_path: Path, resumed_by: str):
    """Between two updates each process has its own gradients and its own random numbers.

    The file that was written last is damaged: both processes fall back to the one before it. What
    one runner wrote the other goes on with, bit for bit.
    """
    finals = []
    for name in ("whole", "parts"):
        folder = tmp_path / name
        folder.mkdir()
        cfg = tiny_run_cfg(tiny_world, batch_size=2)
        cfg["model"]["text"].update(dropout=0.1)
        cfg["optim_wrapper"]["accumulative_counts"] = 2
        cfg["default_hooks"]["checkpoint"] = {"by_epoch": False, "max_keep_ckpts": -1}
        cfg["val_cfg"] = cfg["val_dataloader"] = cfg["val_evaluator"] = None
        if name == "parts" and resumed_by == "FlexibleRunner":
            cfg["runner_type"], cfg["strategy"] = resumed_by, {"type": "DDPStrategy"}
        arguments = [write_run_cfg(folder / "cfg.py", cfg), "--work-dir", folder]
        if name == "parts":
            (folder / "iter_3.pth").write_bytes((tmp_path / "whole/iter_3.pth").read_bytes())
            half = (tmp_path / "whole/iter_4.pth").read_bytes()
            (folder / "iter_4.pth").write_bytes(half[: len(half) // 2])
            (folder / "last_checkpoint").write_text(str(folder / "iter_4.pth"))
            arguments += ["--resume"]
        printed = run_tool_apart("train.py", *arguments, log=folder / "log.txt", world=2)
        assert ("Cannot resume from" in printed) == (name == "parts")
        finals.append(torch.load(folder / "iter_8.pth", weights_only=True)["state_dict"])
    for name, value in finals[0].items():
        torch.testing.assert_close(finals[1][name], value, rtol=0, atol=0, msg=name)
