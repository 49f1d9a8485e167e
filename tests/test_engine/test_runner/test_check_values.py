from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from tests.helpers import ROOT, tiny_run_cfg
from uniadapter.engine.runner import check_values as module
from uniadapter.engine.runner.check_values import check_values
from uniadapter.utils.config import load_config


@pytest.fixture(scope="module")
def run_cfg(tiny_world: Path) -> Config:
    runtime = load_config(ROOT / "configs/_base_/default_runtime.py")
    schedule = load_config(ROOT / "configs/_base_/schedules/adamw_cosine.py")
    runtime.merge_from_dict(schedule.to_dict())
    runtime.merge_from_dict(tiny_run_cfg(tiny_world))
    return runtime


@pytest.fixture
def cfg(run_cfg: Config) -> Config:
    return deepcopy(run_cfg)


WHOLE = ("train_dataloader.batch_size", "train_cfg.max_epochs", "optim_wrapper.accumulative_counts")


@pytest.mark.parametrize("key", WHOLE)
@pytest.mark.parametrize("value", ["8", 0, -1, 1.5, True, float("nan")])
def test_counts_are_whole_numbers(cfg: Config, key: str, value: Any):
    cfg.merge_from_dict({key: value})
    with pytest.raises(ValueError, match=f"{key} must be a whole number from 1 up, got {value!r}"):
        check_values(cfg)


@pytest.mark.parametrize("value", ["1e-5", float("nan"), float("inf"), -1e-5, True])
def test_rates_are_finite(cfg: Config, value: Any):
    cfg.optim_wrapper.optimizer.lr = value
    with pytest.raises(ValueError, match="optimizer.lr must be a finite number from 0 up, got"):
        check_values(cfg)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train_dataloader", "abc"),
        ("train_dataloader.num_workers", -1),
        ("train_dataloader.drop_last", "False"),
        ("train_dataloader.sampler.shuffle", "False"),
        ("optim_wrapper.optimizer.betas", 0.9),
        ("optim_wrapper.optimizer.betas", (0.9, 1.0)),
        ("param_scheduler.0.T_max", 0),
        ("default_hooks", 3),
        ("default_hooks.checkpoint.interval", 0),
        ("custom_hooks", ["AlphaRampHook"]),
        ("default_hooks.logger.priority", "URGENT"),
        ("default_hooks.checkpoint.max_keep_ckpts", "2"),
        ("default_hooks.checkpoint.filename_tmpl", "last.pth"),
        ("log_processor.window_size", "10"),
        ("visualizer.vis_backends", "LocalVisBackend"),
        ("load_from", 3),
        ("randomness.seed", "0"),
        ("resume", "no"),
        ("log_level", "LOUD"),
    ],
)
def test_values_of_the_wrong_kind_are_named(cfg: Config, key: str, value: Any):
    cfg.visualizer = {"type": "Visualizer"}
    cfg.merge_from_dict({key: value})
    with pytest.raises(ValueError, match=rf"{key} must be .*, got "):
        check_values(cfg)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"train_dataloader.persistent_workers": True},
            "persistent_workers=True with num_workers=0",
        ),
        ({"train_dataloader.prefetch_factor": 2}, "prefetch_factor needs workers"),
        (
            {"val_dataloader.drop_last": True},
            r"val_dataloader\.drop_last=True would leave the last",
        ),
        ({"test_dataloader.drop_last": True}, r"test_dataloader\.drop_last=True would leave"),
        (
            {"test_dataloader.batch_sampler": {"type": "BatchSampler", "drop_last": True}},
            r"test_dataloader\.drop_last=True would leave",
        ),
        ({"test_dataloader.num_batch_per_epoch": 1}, r"test_dataloader\.dataset\.indices=N"),
        ({"val_evaluator": None}, "val_dataloader, val_cfg without val_evaluator: set all of"),
        ({"train_cfg.type": "EpochBasedTrainLoop"}, "`type` and `by_epoch`; leave one of them out"),
        ({"train_cfg.max_epochs": None}, "by_epoch=True needs max_epochs"),
        ({"train_cfg.by_epoch": False}, "by_epoch=False needs max_iters"),
        ({"train_dataloader.sampler.type": "InfiniteSampler"}, "an epoch would never be over"),
        ({"activation_checkpointing": ["visual"]}, r"use model\.grad_checkpointing=True"),
        ({"param_scheduler.0.by_epoch": False}, "nothing for convert_to_iter_based=True"),
        ({"param_scheduler.0": {"begin": 5, "end": 3}}, r"0\.end=3 must be above"),
        (
            {"param_scheduler.0": {"end": 0.5, "convert_to_iter_based": False}},
            r"0\.end=0\.5 is a part of an epoch, which only",
        ),
        (
            {"param_scheduler.0": {"begin": 0.5, "convert_to_iter_based": False}},
            r"0\.begin=0\.5 is a part of an epoch",
        ),
        ({"train_dataloader.sampler": None}, "train_dataloader has no `sampler`"),
        ({"val_dataloader.dataset.pipeline": [None]}, "pipeline must be a list of dicts"),
        ({"model.data_preprocessor": None}, r"model\.data_preprocessor is missing: batches"),
        ({"data_preprocessor": {"type": "X"}}, "nothing reads `data_preprocessor` where the model"),
    ],
)
def test_what_does_not_go_together_is_refused(cfg: Config, options: dict, message: str):
    cfg.merge_from_dict(options)
    with pytest.raises(ValueError, match=message):
        check_values(cfg)


def test_mixed_precision_without_a_gpu_is_refused(cfg: Config, monkeypatch):
    cfg.optim_wrapper.type = "AmpOptimWrapper"
    monkeypatch.setattr(module, "get_device", lambda: "cuda")
    check_values(cfg)
    monkeypatch.setattr(module, "get_device", lambda: "cpu")
    with pytest.raises(ValueError, match="'AmpOptimWrapper' needs a GPU"):
        check_values(cfg)


def test_missing_weights_are_named(cfg: Config):
    cfg.load_from = "gone.pth"
    with pytest.raises(FileNotFoundError, match=r"load_from='gone\.pth' does not exist"):
        check_values(cfg)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_loader_needs_data_and_a_sampler(cfg: Config, split: str):
    del cfg[f"{split}_dataloader"]["sampler"]
    with pytest.raises(ValueError, match=f"{split}_dataloader has no `sampler`"):
        check_values(cfg)
