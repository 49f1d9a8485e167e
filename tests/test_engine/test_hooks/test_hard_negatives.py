from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from uniadapter.engine.hooks.hard_negatives import HardNegativeHook
from uniadapter.engine.hooks.safe_checkpoint import SafeCheckpointHook
from uniadapter.models.heads import HingeContrastHead


class Model(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.contrast = HingeContrastHead(1, 1, 1)
        self.seen: list[tuple[bool, float]] = []

    def forward(self, x: torch.Tensor, mode: str = "loss") -> dict[str, torch.Tensor]:
        self.seen.append((self.contrast.hardest, self.contrast.loss_scale))
        return {"loss": self.contrast.vision_proj(x).sum()}


def _train(work_dir: Path, epochs: int, resume: bool) -> list[tuple[bool, float]]:
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
        custom_hooks=[HardNegativeHook()],
        default_hooks=dict(checkpoint=SafeCheckpointHook(interval=1), logger=None),
        experiment_name=f"{work_dir.name}_{epochs}_{resume}",
        resume=resume,
        default_scope="mmengine",
        log_level="ERROR",
    )
    runner.train()
    return runner.model.seen


ALL, RAMP = [(False, 1.0)] * 4, [(True, 0.0), (True, 0.25), (True, 0.5), (True, 0.75)]


def test_all_negatives_then_a_ramp_of_the_hardest(tmp_path: Path) -> None:
    assert _train(tmp_path, 3, False) == [*ALL, *RAMP, *[(True, 1.0)] * 4]


def test_a_resumed_run_goes_on(tmp_path: Path) -> None:
    assert _train(tmp_path, 1, False) == ALL
    assert _train(tmp_path, 2, True) == RAMP


def _set(epochs: float, iteration: int, model: Any) -> tuple[bool, float]:
    runner = SimpleNamespace(model=model, iter=iteration, train_dataloader=range(10))
    HardNegativeHook(epochs=epochs).before_train(runner)
    return model.contrast.hardest, model.contrast.loss_scale


def test_other_lengths() -> None:
    assert _set(0, 0, Model()) == (True, 1.0)
    assert _set(2, 19, Model()) == (False, 1.0)
    assert _set(2, 30, Model()) == (True, 0.5)


def test_bad_length_and_model() -> None:
    with pytest.raises(ValueError, match=r"HardNegativeHook\.epochs"):
        HardNegativeHook(epochs=-1)
    with pytest.raises(ValueError, match="Linear has no such head: take the hook out"):
        _set(1, 0, nn.Linear(1, 1))
