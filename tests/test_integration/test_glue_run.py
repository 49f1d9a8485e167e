"""GLUE from its files to a submission: training, resuming, adapter folders, testing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import load_file, save_file

from tests.glue_helpers import write_glue
from tests.helpers import ROOT, load_tool
from tests.t5_helpers import seq2seq, seq2seq_cfg, tokenizer_file

train, test = load_tool("train.py"), load_tool("test.py")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of RTE and STS-B, a tokenizer and a backbone."""
    root = tmp_path_factory.mktemp("glue")
    for task in ("rte", "stsb"):
        write_glue(root, task)
    tokenizer_file(root)
    save_file(seq2seq(seed=3).state_dict(), root / "t5.safetensors")
    return root


def write_cfg(world: Path, out: Path, task: str, epochs: int = 2, **evaluator: Any) -> Path:
    """A leaf of the published configs on the small model and data; frozen layers have dropout."""
    adapter = {"type": "UniPT", "decoder": "side", "reduction": 2}
    model = seq2seq_cfg(adapter, world / "t5.json", text={"dropout": 0.2})
    cfg = Config.fromfile(str(ROOT / f"configs/unipt/t5_{task}.py"))
    for split in ("train", "val", "test"):
        loader = cfg[f"{split}_dataloader"]
        loader.update(batch_size=5, num_workers=0, persistent_workers=False)
        loader.dataset.data_root = str(world)
    cfg.model = {**model, "pretrained": str(world / "t5.safetensors")}
    cfg.train_cfg.max_epochs = epochs
    cfg.test_evaluator.update(evaluator)
    cfg.default_hooks.checkpoint.max_keep_ckpts = 3
    out.mkdir(parents=True, exist_ok=True)
    cfg.dump(str(out / "cfg.py"))
    return out / "cfg.py"


def trained(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path / "adapter_model.safetensors")


def test_a_run_from_files_to_a_submission(world: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train.main([str(write_cfg(world, whole, "rte")), "--work-dir", str(whole)])
    scores = [json.loads(line) for line in next(whole.glob("*/vis_data/scalars.json")).open()]
    assert {"accuracy", "score", "unreadable"} <= set(scores[-1])
    assert list(whole.glob("best_score_epoch_*.pth"))

    # Stopped behind the first epoch and resumed, it is the same run.
    config = write_cfg(world, parts, "rte")
    parts.joinpath("last_checkpoint").write_text(str(parts / "epoch_1.pth"))
    shutil.copy(whole / "epoch_1.pth", parts)
    train.main([str(config), "--work-dir", str(parts), "--resume"])
    one, other = (trained(folder / "epoch_2_adapter") for folder in (whole, parts))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    # What was trained and nothing of the backbone.
    assert all(name.startswith("adapter.") for name in one)
    about = json.loads((whole / "epoch_2_adapter" / "adapter_config.json").read_text())
    assert about["options"]["decoder"] == "side"

    # The test of the folder is the test of the checkpoint.
    answers = []
    for name in ("epoch_2.pth", "epoch_2_adapter"):
        file = tmp_path / f"{name}.tsv"
        config = write_cfg(world, tmp_path / name, "rte", submission_file=str(file))
        options = ["test_dataloader.dataset.split=unlabelled", "--work-dir", str(tmp_path / name)]
        test.main([str(config), str(whole / name), "--cfg-options", *options])
        answers.append(file.read_text())
    assert answers[0] == answers[1]
    rows = [line.split("\t") for line in answers[0].splitlines()]
    assert rows[0] == ["index", "prediction"]
    assert [int(row[0]) for row in rows[1:]] == list(range(5))
    assert {row[1] for row in rows[1:]} <= {"entailment", "not_entailment"}


@pytest.mark.deep
def test_scores_are_regressed_as_text(world: Path, tmp_path: Path) -> None:
    train.main([str(write_cfg(world, tmp_path, "stsb", 1)), "--work-dir", str(tmp_path)])
    lines = [json.loads(line) for line in next(tmp_path.glob("*/vis_data/scalars.json")).open()]
    assert {"pearson", "spearman", "score", "unreadable"} <= set(lines[-1])
