"""A toy model and its run, for what has nothing to do with the towers."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

_names = itertools.count()


class ToyModel(BaseModel):
    """A linear layer behind dropout, beside a frozen one and a tied one."""

    def __init__(self, pretrained: str | None = None, train: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.visual = nn.Linear(4, 4)
        self.head = nn.Linear(4, 1)
        self.tied = self.head
        self.temp = nn.Parameter(torch.tensor(1.0))
        self.dropout = nn.Dropout(0.5)
        self.pretrained = pretrained
        self.register_buffer("queue", torch.zeros(3))
        for parameter in self.parameters():
            parameter.requires_grad_(train)
        self.visual.requires_grad_(False)

    def towers(self) -> dict[str, nn.Module]:
        """The frozen part."""
        return {"visual": self.visual}

    def forward(self, x: torch.Tensor, noise: torch.Tensor, mode: str = "loss") -> Any:
        """Sum of squares of noisy outputs; ``noise`` came from the data loader."""
        if mode != "loss":
            return [noise]
        self.queue += noise.mean()
        y = self.head(self.dropout(self.visual(x))) * self.temp + noise[:, None]
        return {"loss": (y**2).mean()}


class ToyData(Dataset):
    """Items with a random number of each generator."""

    metainfo = {"classes": np.array(["a", "b"])}

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        noise = random.random() + np.random.rand() + torch.rand(()).item()
        return {"x": torch.full((4,), float(index)), "noise": torch.tensor(noise)}


class ToyMetric(BaseMetric):
    """A numpy number that rises with every call."""

    count = 0.0

    def process(self, data_batch: Any, data_samples: Any) -> None:
        """Count a batch."""
        self.results.append(1)

    def compute_metrics(self, results: list) -> dict[str, Any]:
        """The number."""
        ToyMetric.count += 1
        return {"t2v/R1": np.float64(ToyMetric.count)}


def toy_runner(
    work_dir: Path,
    epochs: int = 2,
    workers: int = 0,
    model: dict[str, Any] | None = None,
    checkpoint: dict[str, Any] | None = None,
    validate: bool = False,
    hooks: list | None = None,
    **cfg: Any,
) -> Runner:
    """A runner with the package's hooks and constructor."""
    loader = {
        "batch_size": 4,
        "num_workers": workers,
        "dataset": ToyData(),
        "sampler": {"type": "DefaultSampler", "shuffle": True},
        "collate_fn": {"type": "default_collate"},
        "worker_init_fn": {"type": "uniadapter.seed_worker"},
    }
    validation: dict[str, Any] = {}
    if validate:
        validation = {
            "val_cfg": {},
            "val_dataloader": {**loader, "sampler": {"type": "DefaultSampler"}},
            "val_evaluator": [ToyMetric()],
        }
    # Not from a config: MMEngine writes a config out, and these objects have no spelling.
    return Runner(
        model=ToyModel(**(model or {})),
        work_dir=str(work_dir),
        experiment_name=f"toy_{next(_names)}",
        default_scope="uniadapter",
        train_dataloader=loader,
        train_cfg={"by_epoch": True, "max_epochs": epochs},
        optim_wrapper={
            "type": "OptimWrapper",
            "constructor": "TrainableOptimWrapperConstructor",
            "optimizer": {"type": "AdamW", "lr": 0.01},
        },
        param_scheduler=[{"type": "CosineAnnealingLR", "convert_to_iter_based": True}],
        default_hooks={
            "epoch_seed": {"type": "EpochSeedHook"},
            "checkpoint": {"type": "SafeCheckpointHook", "interval": 1, **(checkpoint or {})},
        },
        custom_hooks=hooks or [],
        randomness={"seed": 3},
        **validation,
        **cfg,
    )
