from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook

from tests.toy import toy_runner
from uniadapter.engine.hooks import epoch_seed
from uniadapter.engine.hooks.epoch_seed import mix_seed, seed_generators, seed_worker


class Recorder(Hook):
    """Keeps the noise that the data brought, by epoch."""

    def __init__(self) -> None:
        self.epochs: list[list[float]] = []

    def before_train_epoch(self, runner) -> None:
        self.epochs.append([])

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.epochs[-1] += [float(value) for value in data_batch["noise"]]


def record(work_dir: Path, epochs: int = 2, **options) -> list[list[float]]:
    recorder = Recorder()
    toy_runner(work_dir, epochs=epochs, hooks=[recorder], **options).train()
    return recorder.epochs


def test_mixed_seeds_differ_in_every_part():
    parts = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]
    seeds = {mix_seed(*part) for part in parts}
    assert len(seeds) == len(parts)
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert mix_seed(4, 5) == mix_seed(4, 5)


def test_all_generators_are_seeded():
    draws = []
    for _ in range(2):
        seed_generators(7)
        draws.append((random.random(), np.random.rand(), torch.rand(1).item()))
    assert draws[0] == draws[1]


def test_worker_follows_torch():
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        seed_worker(0)
        draws.append((random.random(), np.random.rand()))
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]


@pytest.mark.parametrize("workers", [0, 2])
def test_epochs_differ_and_runs_repeat(tmp_path: Path, workers: int):
    first = record(tmp_path / "a", workers=workers)
    again = record(tmp_path / "b", workers=workers)
    assert first == again
    values = [value for epoch in first for value in epoch]
    assert len(values) == len(set(values)) == 16


def test_an_epoch_does_not_depend_on_what_was_drawn_before(tmp_path: Path):
    class Spoiler(Hook):
        priority = "LOWEST"

        def after_train_epoch(self, runner) -> None:
            random.random(), np.random.rand(3), torch.rand(5)

    recorder = Recorder()
    toy_runner(tmp_path / "a", hooks=[recorder, Spoiler()]).train()
    assert recorder.epochs == record(tmp_path / "b")


def test_persistent_workers_are_warned_about(tmp_path: Path, monkeypatch):
    lines: list[str] = []
    monkeypatch.setattr(epoch_seed, "print_log", lambda text, *args, **kwargs: lines.append(text))
    runner = toy_runner(tmp_path, epochs=1, workers=1)
    runner._train_dataloader["persistent_workers"] = True
    runner.train()
    assert "train_dataloader.persistent_workers=True" in lines[0]
