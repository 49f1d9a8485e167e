from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import DefaultScope

from tests.helpers import ROOT, tiny_run_cfg
from uniadapter.engine.runner.build import build_runner
from uniadapter.engine.runner.check_options import check_options
from uniadapter.models.check_config import check_model_cfg
from uniadapter.registry import register_all_modules
from uniadapter.utils.config import load_config


@pytest.fixture(scope="module")
def run_cfg(tiny_world: Path) -> Config:
    runtime = load_config(ROOT / "configs/_base_/default_runtime.py")
    runtime.merge_from_dict(
        load_config(ROOT / "configs/_base_/schedules/adamw_cosine.py").to_dict()
    )
    runtime.merge_from_dict(tiny_run_cfg(tiny_world))
    return runtime


@pytest.fixture
def cfg(run_cfg: Config) -> Config:
    register_all_modules()
    return deepcopy(run_cfg)


def test_known_types_pass(cfg: Config):
    check_options(cfg)


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
        ("param_scheduler.0.type", "CosineLR", "CosineLR'"),
        ("optim_wrapper.constructor", "TrainableWrapper", "'TrainableOptimWrapperConstructor'"),
    ],
)
def test_unknown_types_name_their_key(cfg: Config, key: str, kind: str, hint: str):
    cfg.merge_from_dict({key: kind})
    with pytest.raises(ValueError, match=rf"{key}='{kind}' is not registered\. .*{hint}"):
        check_options(cfg)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("train_dataloader.batchsize", r"Did you mean 'batch_size'\?"),
        (
            "train_dataloader.dataset.anno_file",
            r"of RetrievalJsonDataset\. Did you mean 'ann_file'",
        ),
        ("train_dataloader.dataset.pipeline.0.num_frame", r"of LoadVideo\. Did you mean 'num_fram"),
        ("train_dataloader.sampler.shufle", r"of DefaultSampler\. Did you mean 'shuffle'"),
        ("train_cfg.max_epoch", r"of EpochBasedTrainLoop\. Did you mean 'max_epochs'"),
        ("val_cfg.ktest", r"of RetrievalValLoop\. Did you mean 'k_test'"),
        ("test_evaluator.name", r"of RetrievalMetric\. Did you mean 'names'"),
        ("optim_wrapper.clip_grads", r"of OptimWrapper\. Did you mean 'clip_grad'"),
        ("optim_wrapper.clip_grad.max_nrm", r"of clip_grad_norm_\. Did you mean 'max_norm'"),
        ("optim_wrapper.optimizer.learning_rate", r"of AdamW\."),
        ("param_scheduler.0.Tmax", r"of CosineAnnealingLR\. Did you mean 'T_max'"),
        ("default_hooks.checkpoint.intervall", r"of SafeCheckpointHook\. Did you mean 'interval'"),
        ("default_hooks.timer.interval", "of IterTimerHook"),
        ("env_cfg.cudnn_bench", "Did you mean 'cudnn_benchmark'"),
        ("env_cfg.mp_cfg.opencv_threads", "Did you mean 'opencv_num_threads'"),
        ("randomness.sede", "Did you mean 'seed'"),
        ("auto_scale_lr.base_batchsize", "Did you mean 'base_batch_size'"),
        ("log_processor.windowsize", r"of LogProcessor\. Did you mean 'window_size'"),
    ],
)
def test_options_that_nothing_reads_name_their_key(cfg: Config, key: str, message: str):
    cfg.merge_from_dict({key: 1})
    with pytest.raises(ValueError, match=rf"{key} is no option.*{message}"):
        check_options(cfg)


@pytest.mark.parametrize(
    "key",
    [
        "default_hooks.checkpoint.save_best",
        "default_hooks.checkpoint.export_adapter",
        "default_hooks.logger.priority",
        "train_dataloader.prefetch_factor",
        "optim_wrapper.accumulative_counts",
        "optim_wrapper.optimizer.betas",
        "param_scheduler.0.end",
        "env_cfg.dist_cfg.timeout",
        "env_cfg.resource_limit",
        "randomness.deterministic",
        "compile.backend",
    ],
)
def test_options_that_the_config_did_not_have_pass(cfg: Config, key: str):
    cfg.merge_from_dict({key: 1})
    check_options(cfg)


@pytest.mark.parametrize(
    "key", ["default_hooks.chekpoint", "train_dataloader.dataset", "optim_wrapper.optimizer"]
)
def test_a_missing_type_names_its_key(cfg: Config, key: str):
    cfg.merge_from_dict({key: {"_delete_": True, "interval": 1}})
    with pytest.raises(ValueError, match=f"{key} has no `type`"):
        check_options(cfg)


def test_a_hook_of_the_user_s_own_judges_its_options(cfg: Config):
    class Mine(Hook):
        def __init__(self, size: int, **others: int) -> None: ...

    cfg.custom_hooks = [{"type": Mine, "size": 1, "anything": 2}]
    check_options(cfg)


ADAPTED = {
    "type": "uniadapter.AdaptedBackbone",
    "backbone": {"type": "VisionTransformer", "arch": "deit-t"},
    "adapter": {"type": "UniAdapter", "towers": ["visual"]},
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, None),
        ({"head": {"type": "TheirOwn", "whatever": {"type": "Else"}}}, None),
        ({"backbone.adapter.botleneck": 8}, r"model\.backbone\.adapter\.botleneck is no option of"),
        ({"backbone.backbone.archh": "b"}, r"model\.backbone\.backbone\.archh is no option of"),
        ({"backbon": 1}, r"model\.backbon is no option of ImageClassifier"),
        ({"neck": {"type": "uniadapter.FrameAwareAttention", "x": 1}}, r"neck\.x is no option of"),
    ],
)
def test_models_of_another_scope(change: dict, message: str | None):
    model = Config({"type": "ImageClassifier", "backbone": ADAPTED})
    model.merge_from_dict(change)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        if message is None:
            check_model_cfg(model._cfg_dict, foreign=True)
        else:
            with pytest.raises(ValueError, match=message):
                check_model_cfg(model._cfg_dict, foreign=True)


def test_types_are_those_of_the_config_s_scope(cfg: Config):
    cfg.default_scope = "mmpretrain"
    with pytest.raises(ValueError, match="'RetrievalJsonDataset' is not registered"):
        check_options(cfg)
    theirs = {"type": "Accuracy", "topk": 1}
    check_options(Config({"default_scope": "mmpretrain", "val_evaluator": theirs}))
    with pytest.raises(ValueError, match=r"val_evaluator\.type='Accuracy' is not registered"):
        check_options(Config({"val_evaluator": theirs}))
    wrong = Config({"default_scope": "mmpretrain", "val_evaluator": {**theirs, "top": 1}})
    with pytest.raises(ValueError, match=r"val_evaluator\.top is no option of Accuracy"):
        check_options(wrong)


def test_a_config_without_a_model_is_no_run():
    with pytest.raises(ValueError, match="has no key `model`"):
        build_runner(Config({"train_cfg": {}}))
