from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from tests.helpers import ROOT, tiny_run_cfg
from uniadapter.engine.runner.build import build_runner, check_types
from uniadapter.utils.config import load_config
from uniadapter.utils.setup_env import register_all_modules


@pytest.fixture
def cfg(tiny_world: Path) -> Config:
    runtime = load_config(ROOT / "configs/_base_/default_runtime.py")
    runtime.merge_from_dict(
        load_config(ROOT / "configs/_base_/schedules/adamw_cosine.py").to_dict()
    )
    runtime.merge_from_dict(tiny_run_cfg(tiny_world))
    register_all_modules()
    return runtime


def test_known_types_pass(cfg: Config):
    check_types(cfg)


@pytest.mark.parametrize(
    ("key", "kind", "hint"),
    [
        ("train_dataloader.dataset.type", "RetrievalJsonDataset2", "'RetrievalJsonDataset'"),
        ("train_dataloader.dataset.pipeline.0.type", "LoadVidoe", "'LoadVideo'"),
        ("val_dataloader.sampler.type", "DefaultSampeler", "'DefaultSampler'"),
        ("train_dataloader.worker_init_fn.type", "seed_workers", "'seed_worker'"),
        ("val_cfg.type", "RetrievalValLop", "'RetrievalValLoop'"),
        ("test_evaluator.type", "RetrievalMetrics", "'RetrievalMetric'"),
        ("default_hooks.checkpoint.type", "SafeCheckpoint", "'SafeCheckpointHook'"),
        ("optim_wrapper.optimizer.type", "AdamWW", "'AdamW'"),
        ("param_scheduler.0.type", "CosineLR", "'Cosine"),
    ],
)
def test_unknown_types_name_their_key(cfg: Config, key: str, kind: str, hint: str):
    cfg.merge_from_dict({key: kind})
    with pytest.raises(ValueError, match=rf"{key}='{kind}' is not registered\. .*{hint}"):
        check_types(cfg)


def test_a_config_without_a_model_is_no_run():
    with pytest.raises(ValueError, match="has no key `model`"):
        build_runner(Config({"train_cfg": {}}))


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs").glob("[!_]*/*.py")), ids=lambda path: path.stem
)
def test_types_of_the_repository_are_registered(path: Path):
    register_all_modules()
    check_types(load_config(path))
