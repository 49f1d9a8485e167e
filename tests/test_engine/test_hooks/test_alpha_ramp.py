from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from uniadapter.engine.hooks.alpha_ramp import AlphaRampHook
from uniadapter.engine.hooks.safe_checkpoint import SafeCheckpointHook


class Model(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.alpha_scale = -1.0
        self.seen: list[float] = []

    def forward(self, x: torch.Tensor, mode: str = "loss") -> dict[str, torch.Tensor]:
        self.seen.append(self.alpha_scale)
        return {"loss": (self.weight * x).sum()}


def _train(work_dir: Path, epochs: int, resume: bool) -> Model:
    runner = Runner(
        model=Model(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=[{"x": torch.ones(1)}] * 4,
            sampler=dict(type="DefaultSampler", shuffle=False),
            collate_fn=lambda batch: batch[0],
            batch_size=1,
        ),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.0)),
        custom_hooks=[AlphaRampHook()],
        default_hooks=dict(checkpoint=SafeCheckpointHook(interval=1), logger=None),
        experiment_name=f"{work_dir.name}_{epochs}_{resume}",
        resume=resume,
        default_scope="mmengine",
        log_level="ERROR",
    )
    runner.train()
    return runner.model


def test_ramps_over_the_first_epoch_then_stays(tmp_path: Path) -> None:
    assert _train(tmp_path, 2, False).seen == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0]


def test_resumed_run_starts_at_one(tmp_path: Path) -> None:
    _train(tmp_path, 1, False)
    assert _train(tmp_path, 2, True).seen == [1.0] * 4


def _runner(iteration: int, model: nn.Module) -> SimpleNamespace:
    return SimpleNamespace(model=model, iter=iteration, train_dataloader=range(10))


def test_value_is_set_before_the_first_iteration_already() -> None:
    model = Model()
    AlphaRampHook().before_train(_runner(5, model))
    assert model.alpha_scale == 0.5


def test_other_lengths() -> None:
    model = Model()
    AlphaRampHook(epochs=2).before_train_iter(_runner(5, model), 5)
    assert model.alpha_scale == 0.25
    AlphaRampHook(epochs=0).before_train_iter(_runner(0, model), 0)
    assert model.alpha_scale == 1.0


def test_bad_length_and_model() -> None:
    with pytest.raises(ValueError, match=r"AlphaRampHook\.epochs"):
        AlphaRampHook(epochs=-1)
    with pytest.raises(ValueError, match="Linear has none; take the hook out"):
        AlphaRampHook().before_train(_runner(0, nn.Linear(1, 1)))
