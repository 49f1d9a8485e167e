"""A whole run with UniPT: trained, tested in two stages, resumed, and loaded from its folder."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.helpers import load_tool, tiny_run_cfg, write_run_cfg
from tests.model_helpers import outputs, randomize, same, tiny_batch
from uniadapter.apis.model import build_model
from uniadapter.checkpoints.adapter import load_adapter

train = load_tool("train.py")


def test_a_resumed_run_is_the_run(tmp_path: Path, tiny_world: Path):
    cfg = tiny_run_cfg(tiny_world, epochs=2, random=False, adapter={"type": "UniPT"})
    cfg["default_hooks"]["checkpoint"] = {"max_keep_ckpts": -1}
    states = []
    for name in ("whole", "resumed"):
        folder = tmp_path / name
        folder.mkdir()
        cfg["experiment_name"] = f"{tmp_path.name}_{name}"
        command = [str(write_run_cfg(folder / "cfg.py", cfg)), "--work-dir", str(folder)]
        if states:
            command += ["--resume", str(tmp_path / "whole/epoch_1.pth")]
        train.main(command)
        states.append(torch.load(folder / "epoch_2.pth", weights_only=True)["state_dict"])
        log = next(folder.glob("*/*.log")).read_text(encoding="utf-8")
        assert "t2v/R1" in log
    whole, resumed = states
    assert set(whole) == set(resumed)
    for name, tensor in whole.items():
        torch.testing.assert_close(resumed[name], tensor, msg=name)
    model, other = (
        build_model({**cfg["model"], "data_preprocessor": None}).eval() for _ in range(2)
    )
    for found in (model, other):
        found.load_state_dict(whole, strict=False)
    load_adapter(randomize(other), tmp_path / "whole/epoch_2_adapter")
    assert same(outputs(model, tiny_batch()), outputs(other, tiny_batch()))
