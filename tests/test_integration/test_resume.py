"""A run that was stopped goes on bit for bit, in a process of its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.helpers import assert_equal, load_tool, tiny_run_cfg, write_run_cfg
from tests.spawn import run_tool_apart
from uniadapter.apis.model import build_model
from uniadapter.registry import register_all_modules

EPOCHS = 3
train, evaluate = load_tool("train.py"), load_tool("test.py")


def write_cfg(folder: Path, world: Path) -> Path:
    """A run with everything random: crops, frames, flips, dropout, workers."""
    cfg = tiny_run_cfg(world, epochs=EPOCHS)
    cfg["model"]["text"].update(dropout=0.1, attention_dropout=0.1)
    cfg["model"]["adapter"]["dropout"] = 0.1
    cfg["train_dataloader"]["num_workers"] = 2
    cfg["custom_imports"] = {"imports": ["uniadapter", "tests.recorder"]}
    cfg["custom_hooks"] = [
        {"type": "AlphaRampHook"},
        {"type": "LossRecorder", "path": str(folder / "record.json")},
    ]
    cfg["default_hooks"]["checkpoint"] = {"max_keep_ckpts": -1, "save_best": "t2v/R1"}
    return write_run_cfg(folder / "cfg.py", cfg)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_world: Path) -> Path:
    """Folder of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    cfg = write_cfg(folder, tiny_world)
    run_tool_apart("train.py", cfg, "--work-dir", folder, log=folder / "log.txt")
    return folder


def stopped_copy(whole: Path, folder: Path, world: Path, after: int) -> Path:
    """The folder as the run would have left it, had it been stopped after some epochs.

    What is written later than an epoch's checkpoint is taken away again.
    """
    folder.mkdir()
    for number in range(1, after + 1):
        shutil.copy(whole / f"epoch_{number}.pth", folder)
    (folder / "last_checkpoint").write_text(str(folder / f"epoch_{after}.pth"))
    return write_cfg(folder, world)


def content(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def test_resumed_run_equals_the_uninterrupted_one(whole: Path, tmp_path: Path, tiny_world: Path):
    after = 1
    folder = tmp_path / "parts"
    cfg = stopped_copy(whole, folder, tiny_world, after)
    run_tool_apart("train.py", cfg, "--work-dir", folder, "--resume", log=folder / "log.txt")
    expected, found = content(whole / "epoch_3.pth"), content(folder / "epoch_3.pth")
    # Weights, adapter, momentum averages, queue and its pointer, step; optimizer; schedule.
    names = set(expected["state_dict"])
    assert {"queue.ptr", "queue.visual", "step", "temp"} <= names
    assert any(name.startswith("ema.") for name in names)
    for key in ("state_dict", "optimizer", "param_schedulers"):
        assert_equal(expected[key], found[key], key)
    for key in ("epoch", "iter", "seed"):
        assert expected["meta"][key] == found["meta"][key]
    # Losses say that random numbers and the sampler's order are the same, too.
    records = [json.loads((path / "record.json").read_text()) for path in (whole, folder)]
    iterations = len(records[0]["losses"]) // EPOCHS
    assert records[1]["losses"] == records[0]["losses"][after * iterations :]
    assert records[1]["metrics"] == records[0]["metrics"][after:]


def test_epochs_of_the_run_differ(whole: Path):
    losses = json.loads((whole / "record.json").read_text())["losses"]
    orders = [tuple(record["media"]) for record in losses]
    assert len(set(orders)) == len(orders)


def test_truncated_last_checkpoint_falls_back(whole: Path, tmp_path: Path, tiny_world: Path):
    folder = tmp_path / "cut"
    cfg = stopped_copy(whole, folder, tiny_world, after=2)
    last = folder / "epoch_2.pth"
    last.write_bytes(last.read_bytes()[:-1000])
    options = ("--work-dir", folder, "--resume", "auto")
    printed = run_tool_apart("train.py", cfg, *options, log=folder / "log.txt")
    warning = next(line for line in printed.splitlines() if "Cannot resume from" in line)
    assert str(last) in warning
    assert str(folder / "epoch_1.pth") in warning
    assert_equal(
        content(whole / "epoch_3.pth")["state_dict"], content(folder / "epoch_3.pth")["state_dict"]
    )


def test_frozen_backbone_comes_from_its_own_file(tmp_path: Path, tiny_world: Path):
    """Checkpoints leave it out; resuming and testing load it again and check that it is the one."""
    register_all_modules()
    cfg = tiny_run_cfg(tiny_world, pretrained=str(tmp_path / "backbone.safetensors"))
    other = build_model({**cfg["model"], "pretrained": None})
    weights = {
        name: tensor.clone()
        for name, tensor in other.state_dict().items()
        if name.startswith(("visual.", "text.", "vision_proj.", "text_proj.", "itm_head.", "temp"))
    }
    save_file(weights, tmp_path / "backbone.safetensors")
    path = write_run_cfg(tmp_path / "run.py", cfg)
    work_dir = tmp_path / "work"
    command = [str(path), "--work-dir", str(work_dir)]
    train.main(command)
    expected = content(work_dir / "epoch_2.pth")["state_dict"]
    assert not any(name.startswith(("visual.", "text.")) for name in expected)
    assert any(name.startswith("adapter.") for name in expected)

    (work_dir / "epoch_2.pth").unlink()
    (work_dir / "last_checkpoint").write_text(str(work_dir / "epoch_1.pth"))
    train.main([*command, "--resume"])
    assert_equal(content(work_dir / "epoch_2.pth")["state_dict"], expected)

    metrics = []
    for name in ("epoch_2.pth", "epoch_2_adapter"):
        out = tmp_path / f"{name}.json"
        evaluate.main([str(path), str(work_dir / name), "--out", str(out), *command[1:]])
        metrics.append(json.loads(out.read_text()))
    assert metrics[0] == metrics[1]

    weights["visual.ln1.weight"] += 1
    save_file(weights, tmp_path / "backbone.safetensors")
    with pytest.raises(SystemExit, match=r"error: .*epoch_2\.pth was trained on a backbone with"):
        train.main([*command, "--resume"])
    with pytest.raises(SystemExit, match=r"epoch_2\.pth was trained on a backbone with other"):
        evaluate.main([str(path), str(work_dir / "epoch_2.pth"), *command[1:]])
