"""A run goes on bit for bit from anywhere: inside an epoch, and between two updates."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.helpers import assert_equal, draws, load_tool, tiny_run_cfg, write_run_cfg

train = load_tool("train.py")


def write_cfg(folder: Path, world: Path, drawn: dict[str, Any]) -> Path:
    """A run with everything random; 16 samples in batches of 5 are 4 iterations an epoch."""
    cfg = tiny_run_cfg(world, epochs=2, batch_size=5)
    cfg["model"]["text"].update(dropout=0.1, attention_dropout=0.1)
    cfg["model"]["adapter"]["dropout"] = 0.1
    loader = cfg["train_dataloader"]
    loader["num_workers"] = drawn["workers"]
    if drawn["loop"] == "epoch":
        cfg["train_cfg"] = {"max_epochs": 2, "val_interval": 2}
    else:
        # In between come validations, which draw random numbers too.
        cfg["train_cfg"] = {
            "_delete_": True,
            "by_epoch": False,
            "max_iters": 9,
            "val_interval": drawn["interval"],
        }
        cfg["param_scheduler"] = [{"type": "CosineAnnealingLR", "T_max": 9, "by_epoch": False}]
        if drawn["loop"] == "endless":
            loader["sampler"] = {"type": "InfiniteSampler", "shuffle": True}
    cfg["optim_wrapper"]["accumulative_counts"] = drawn["accumulation"]
    cfg["custom_imports"] = {"imports": ["uniadapter", "tests.recorder"]}
    cfg["custom_hooks"] = [
        {"type": "AlphaRampHook"},
        {"type": "LossRecorder", "path": str(folder / "record.json")},
    ]
    cfg["default_hooks"]["checkpoint"] = {
        "by_epoch": False,
        "interval": drawn["interval"],
        "max_keep_ckpts": -1,
        "save_best": "t2v/R1",
        "export_adapter": False,
    }
    return write_run_cfg(folder / "cfg.py", cfg)


def content(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def last_file(folder: Path) -> Path:
    return folder / Path((folder / "last_checkpoint").read_text()).name


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=draws(1, deep=60))
@example(drawn={"loop": "epoch", "workers": 2, "accumulation": 3, "interval": 1}, place=0.8)
@given(
    drawn=st.fixed_dictionaries(
        {
            "loop": st.sampled_from(["epoch", "iter", "endless"]),
            "workers": st.sampled_from([0, 2]),
            "accumulation": st.integers(1, 3),
            "interval": st.integers(1, 5),
        }
    ),
    place=st.floats(0, 1, exclude_max=True),
)
def test_resumed_equals_uninterrupted(
    drawn: dict[str, Any],
    place: float,
    tiny_world: Path,
    tmp_path_factory: pytest.TempPathFactory,
):
    whole, parts = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("parts")
    train.main([str(write_cfg(whole, tiny_world, drawn)), "--work-dir", str(whole)])
    saved = sorted(whole.glob("iter_*.pth"), key=lambda path: int(path.stem[5:]))
    chosen = saved[int(place * (len(saved) - 1))]
    shutil.copy(chosen, parts)
    cfg = write_cfg(parts, tiny_world, drawn)
    train.main([str(cfg), "--work-dir", str(parts), "--resume", str(parts / chosen.name)])

    expected, found = content(last_file(whole)), content(last_file(parts))
    assert last_file(whole).name == last_file(parts).name
    for key in ("state_dict", "optimizer", "param_schedulers", "optimizer_names"):
        assert_equal(expected[key], found[key], key)
    for key in ("epoch", "iter", "seed", "run"):
        assert expected["meta"][key] == found["meta"][key]
    assert_equal(expected.get("position"), found.get("position"), "position")
    records = [json.loads((path / "record.json").read_text()) for path in (whole, parts)]
    rest = records[0]["losses"][int(chosen.stem[5:]) :]
    assert records[1]["losses"] == rest
