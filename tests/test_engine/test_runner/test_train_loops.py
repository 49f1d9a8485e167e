"""When the training loops set the model's mode, which tells it that weights may be others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from uniadapter.engine.runner.train_loops import EpochBasedTrainLoop, IterBasedTrainLoop


class Watched(nn.Linear):
    """Counts how often its mode is set."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.modes: list[bool] = []

    def train(self, mode: bool = True) -> Watched:
        self.modes.append(mode)
        return super().train(mode)


def run(kind: Any, batches: int, validate_every: int | None = None, **options: Any) -> Watched:
    model, steps = Watched(), []
    runner = SimpleNamespace(
        model=model,
        seed=0,
        rank=0,
        iter=0,
        epoch=0,
        visualizer=SimpleNamespace(),
        call_hook=lambda *args, **kwargs: None,
        val_loop=SimpleNamespace(run=model.eval),
    )

    class Loop(kind):  # type: ignore[misc]
        def run_iter(self, *args: Any) -> None:
            steps.append(model.training)
            self._iter += 1

    loader = DataLoader(TensorDataset(torch.ones(batches, 2)), 1)
    loop = Loop(runner, loader, val_interval=validate_every or 10**6, **options)
    loop.run()
    assert all(steps)
    assert len(steps) == 6
    return model


def test_iterations_set_the_mode_as_a_pass_starts_and_after_validation() -> None:
    assert run(IterBasedTrainLoop, 2, max_iters=6).modes == [True] * 3 + [False]
    assert run(IterBasedTrainLoop, 6, 2, max_iters=6).modes == [True, False] * 3
    # Two batches are a pass: a validation ends as the next one starts.
    assert run(IterBasedTrainLoop, 2, 2, max_iters=6).modes == [True, False] * 3


def test_epochs_set_the_mode_as_they_start() -> None:
    # The last epoch is validated.
    assert run(EpochBasedTrainLoop, 2, max_epochs=3).modes == [True] * 3 + [False]
