"""A loss, a weight or a score that is no number stops the run, by name and before a save."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.helpers import load_tool, tiny_run_cfg, write_run_cfg
from tests.spawn import spawn
from uniadapter.engine.runner.finite import check_losses, check_weights
from uniadapter.models.heads import draw_negatives
from uniadapter.utils.finite import NotFiniteError

train = load_tool("train.py")


def test_a_diverged_run_stops_before_it_saves(tmp_path: Path, tiny_world: Path):
    cfg = tiny_run_cfg(tiny_world, random=False)
    cfg["optim_wrapper"]["optimizer"]["lr"] = 1e30
    cfg["val_cfg"] = cfg["val_dataloader"] = cfg["val_evaluator"] = None
    path = write_run_cfg(tmp_path / "cfg.py", cfg)
    with pytest.raises((NotFiniteError, SystemExit), match="Iteration 2: .*loss_itc.* is nan"):
        train.main([str(path), "--work-dir", str(tmp_path)])
    assert not list(tmp_path.glob("*.pth"))


def _one_of_two(rank: int, world: int) -> None:
    check_losses({"loss": torch.tensor(1.0), "acc": torch.tensor(float("nan"))}, 3)
    losses = {"loss_lm": torch.tensor(float("nan") if rank else 1.0)}
    with pytest.raises(NotFiniteError, match="Iteration 4: loss_lm of process 1 is nan"):
        check_losses(losses, 4)


def test_all_processes_stop_where_one_diverged():
    spawn(_one_of_two, 2)


def test_infinite_gradients_of_a_finite_loss_are_the_scalers_business():
    parameter = nn.Parameter(torch.ones(2))
    parameter.grad = torch.full((2,), float("inf"))
    check_losses({"loss": torch.tensor(2.0)}, 1)


def test_trained_weights_are_looked_at_before_they_are_saved():
    net = nn.Linear(2, 2)
    check_weights(net, 1)
    net.bias.data[0] = float("inf")
    with pytest.raises(NotFiniteError, match="Iteration 7: .* 1 of 2 trained tensors .* bias"):
        check_weights(net, 7)
    net.bias.requires_grad_(False)
    check_weights(net, 8)


def test_negatives_of_nan_are_drawn_among_the_others():
    logits = torch.full((3, 3), float("nan"))
    ids = torch.tensor([0, 1, 1])
    drawn = draw_negatives(logits, ids, ids, torch.Generator().manual_seed(0))
    assert (ids[drawn] != ids).all()
