"""A small stand-in for a model of several tasks, its data and its runs."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from torch import nn
from torch.utils.data import Dataset

from uniadapter.datasets import JointDataset
from uniadapter.engine.runner import CheckedRunner
from uniadapter.structures import MultimodalSample
from uniadapter.utils.dist import weigh_mean

WIDTH = 3
OPTIM: dict[str, Any] = {
    "type": "OptimWrapper",
    "optimizer": {"type": "AdamW", "lr": 0.01, "eps": 1e-4, "weight_decay": 0.1},
    "clip_grad": {"max_norm": 5.0},
}
_names = itertools.count()


class TaskModel(BaseModel):
    """A matrix that all tasks share, and one for each task alone; sums of squares."""

    def __init__(self, tasks: list[str]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.shared = nn.Linear(WIDTH, WIDTH)
        self.own = nn.ModuleDict({task: nn.Linear(WIDTH, 1) for task in tasks})

    def forward(self, data_samples: list[MultimodalSample], mode: str = "loss") -> Any:
        """The mean over the samples of all ranks; a sample's output is its prediction."""
        (task,) = {sample.task for sample in data_samples}
        x = torch.stack([sample.x for sample in data_samples])
        y = self.own[task](torch.tanh(self.shared(x)))[:, 0]
        if mode == "predict":
            for sample, value in zip(data_samples, y.tolist(), strict=True):
                sample.set_field(value, "prediction")
            return data_samples
        wanted = torch.stack([sample.target for sample in data_samples])
        return {"loss": weigh_mean((y - wanted).square().mean(), len(y))}


class TaskData(Dataset):
    """Items with numbers of their own, and with random ones where ``noisy``."""

    def __init__(self, name: str, size: int, noisy: bool = False) -> None:
        self.size, self.noisy = size, noisy
        generator = torch.Generator().manual_seed(len(name) + size)
        self.x = torch.randn(size, WIDTH, generator=generator)
        self.target = torch.randn(size, generator=generator)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict[str, Any]:
        noise = random.random() + np.random.rand() + torch.rand(()).item() if self.noisy else 0.0
        sample = MultimodalSample(metainfo={"number": index, "noise": noise})
        sample.set_field(self.x[index] + noise, "x")
        sample.set_field(self.target[index], "target")
        return {"data_samples": sample}


class Count(BaseMetric):
    """The number of samples, and the mean of what was predicted."""

    def process(self, data_batch: Any, data_samples: Any) -> None:
        """Keep the predictions."""
        self.results += [sample["prediction"] for sample in data_samples]

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Count them."""
        return {"samples": len(results), "mean": sum(results) / len(results)}


class Seen(Hook):
    """Keeps task and numbers of each step, with what the workers drew, and the loss."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, list[int], list[float]]] = []
        self.losses: list[float] = []

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Keep a step."""
        samples = data_batch["data_samples"]
        (task,) = {sample.task for sample in samples}
        self.steps.append((task, [s.number for s in samples], [s.noise for s in samples]))
        self.losses.append(float(outputs["loss"].detach()))


def joint_loader(
    sizes: dict[str, int],
    batch: int,
    workers: int = 0,
    noisy: bool = False,
    train: bool = True,
    seed: int | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Config of a data loader of several tasks; ``seed`` is the sampler's own."""
    sampler = {"type": "DefaultSampler", "shuffle": train, "round_up": train}
    return {
        "batch_size": batch,
        "num_workers": workers,
        "dataset": JointDataset({name: TaskData(name, n, noisy) for name, n in sizes.items()}),
        "sampler": sampler if seed is None else {**sampler, "seed": seed},
        "batch_sampler": {"type": "JointBatchSampler", **options},
        "collate_fn": {"type": "pseudo_collate"},
        "worker_init_fn": {"type": "uniadapter.seed_worker"},
    }


def joint_runner(
    work_dir: Path,
    loader: dict[str, Any],
    train_cfg: dict[str, Any] | None = None,
    hooks: list | None = None,
    checkpoint: dict[str, Any] | None = None,
    **cfg: Any,
) -> CheckedRunner:
    """A runner with the package's hooks, loops and constructor, on the CPU."""
    tasks = list(loader["dataset"].tasks)
    return CheckedRunner(
        model=TaskModel(tasks),
        work_dir=str(work_dir),
        experiment_name=f"joint_{next(_names)}",
        default_scope="uniadapter",
        train_dataloader=loader,
        train_cfg=train_cfg or {"by_epoch": True, "max_epochs": 2},
        optim_wrapper={"constructor": "TrainableOptimWrapperConstructor", **OPTIM},
        param_scheduler=cfg.pop(
            "param_scheduler", [{"type": "WarmupLinearLR", "convert_to_iter_based": True}]
        ),
        default_hooks={
            "sampler_seed": {"type": "DistSamplerSeedHook"},
            "epoch_seed": {"type": "EpochSeedHook"},
            "checkpoint": {
                "type": "SafeCheckpointHook",
                "max_keep_ckpts": -1,
                "export_adapter": False,
                **(checkpoint or {}),
            },
        },
        custom_hooks=hooks or [],
        randomness=cfg.pop("randomness", {"seed": 3}),
        **cfg,
    )
