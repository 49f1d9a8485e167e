"""Values of a config that would fail late, or change a run without a word."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.runner import Priority

from uniadapter.registry import MODELS, SCOPE

from .check_options import SPLITS, find

Rule = tuple[str, Callable[[Any], bool]]


def _is_int(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_number(value: Any, least: float = -math.inf) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value) and value >= least


_POSITIVE: Rule = ("a whole number from 1 up", lambda value: _is_int(value, 1))
_COUNT: Rule = ("a whole number from 0 up", lambda value: _is_int(value, 0))
_EVERY: Rule = (
    "a whole number from 1 up, or -1 for never",
    lambda value: value == -1 or _is_int(value, 1),
)
_RATE: Rule = ("a finite number from 0 up", lambda value: _is_number(value, 0.0))
_ABOVE_0: Rule = ("a finite number above 0", lambda value: _is_number(value, 0.0) and value > 0)
_NUMBER: Rule = ("a finite number", _is_number)
_SWITCH: Rule = ("True or False", lambda value: isinstance(value, bool))
_BETAS: Rule = (
    "two numbers from 0 up, below 1",
    lambda value: (
        isinstance(value, (list, tuple))
        and len(value) == 2
        and all(_is_number(beta, 0.0) and beta < 1 for beta in value)
    ),
)
_DICT: Rule = ("a dict", lambda value: isinstance(value, Mapping))
_DICTS: Rule = (
    "a list of dicts",
    lambda value: isinstance(value, list) and all(isinstance(v, (Mapping, Hook)) for v in value),
)
_STEPS: Rule = (
    "a list of dicts with a `type`",
    lambda value: (
        isinstance(value, (list, tuple))
        and all(isinstance(step, Mapping) or callable(step) for step in value)
    ),
)
_PRIORITY: Rule = (
    f"one of {', '.join(level.name for level in Priority)} or a number from 0 to 100",
    lambda value: value in range(101) or str(value).upper() in Priority.__members__,
)
_SECTION: Rule = ("a dict or None", lambda value: value is None or isinstance(value, Mapping))

_RULES: dict[str, Rule] = {
    "{split}_dataloader": _SECTION,
    "{split}_cfg": _SECTION,
    "optim_wrapper": _SECTION,
    "default_hooks": _DICT,
    "custom_hooks": _DICTS,
    "env_cfg": _DICT,
    "randomness": _DICT,
    "train_cfg.max_epochs": _POSITIVE,
    "train_cfg.max_iters": _POSITIVE,
    "train_cfg.val_interval": _POSITIVE,
    "train_cfg.val_begin": _COUNT,
    "train_cfg.by_epoch": _SWITCH,
    "{split}_dataloader.batch_size": _POSITIVE,
    "{split}_dataloader.num_workers": _COUNT,
    "{split}_dataloader.num_batch_per_epoch": _POSITIVE,
    "{split}_dataloader.prefetch_factor": _POSITIVE,
    "{split}_dataloader.persistent_workers": _SWITCH,
    "{split}_dataloader.drop_last": _SWITCH,
    "{split}_dataloader.pin_memory": _SWITCH,
    "{split}_dataloader.dataset.pipeline": _STEPS,
    "{split}_dataloader.sampler.shuffle": _SWITCH,
    "{split}_dataloader.sampler.round_up": _SWITCH,
    "{split}_dataloader.dataset.test_mode": _SWITCH,
    "optim_wrapper.accumulative_counts": _POSITIVE,
    "optim_wrapper.optimizer.lr": _RATE,
    "optim_wrapper.optimizer.weight_decay": _RATE,
    "optim_wrapper.optimizer.eps": _RATE,
    "optim_wrapper.optimizer.betas": _BETAS,
    "param_scheduler.*.eta_min": _NUMBER,
    "param_scheduler.*.T_max": _POSITIVE,
    "param_scheduler.*.begin": _RATE,
    "param_scheduler.*.end": _ABOVE_0,
    "auto_scale_lr.enable": _SWITCH,
    "auto_scale_lr.base_batch_size": _POSITIVE,
    "default_hooks.checkpoint.interval": _EVERY,
    "default_hooks.checkpoint.max_keep_ckpts": (
        "a whole number from 1 up, or -1 for all",
        lambda value: _is_int(value, -1),
    ),
    "default_hooks.checkpoint.filename_tmpl": (
        "a name with {} for the number",
        lambda value: isinstance(value, str) and "{" in value,
    ),
    "default_hooks.*.priority": _PRIORITY,
    "custom_hooks.*.priority": _PRIORITY,
    "log_processor.window_size": _POSITIVE,
    "visualizer.vis_backends": _DICTS,
    "sync_bn": ("'torch' or 'mmcv'", lambda value: value in ("torch", "mmcv")),
    "load_from": ("a path", lambda value: isinstance(value, (str, Path))),
    "default_hooks.logger.interval": _POSITIVE,
    "env_cfg.cudnn_benchmark": _SWITCH,
    "randomness.seed": _COUNT,
    "randomness.deterministic": _SWITCH,
    "randomness.diff_rank_seed": _SWITCH,
    "resume": _SWITCH,
    "find_unused_parameters": _SWITCH,
}
_GROUPS = (
    ("train_dataloader", "train_cfg", "optim_wrapper"),
    ("val_dataloader", "val_cfg", "val_evaluator"),
    ("test_dataloader", "test_cfg", "test_evaluator"),
)


def check_values(cfg: Config) -> None:
    """Check numbers, switches and what has to be set together.

    Args:
        cfg: The config.

    Raises:
        ValueError: Naming file, key, value and what is taken.
        FileNotFoundError: If ``load_from`` does not exist.
    """
    name = cfg.filename or "The config"
    for pattern, (wanted, fits) in _RULES.items():
        for split in SPLITS if "{split}" in pattern else ("",):
            for key, value in find(cfg._cfg_dict, pattern.format(split=split).split(".")):
                # None is MMEngine's "not set" everywhere here.
                if value is not None and not fits(value):
                    raise ValueError(f"{name}: {key} must be {wanted}, got {value!r}.")
    level = cfg.get("log_level", "INFO")
    if not isinstance(logging.getLevelName(level), int):
        raise ValueError(f"{name}: log_level must be a level such as 'INFO', got {level!r}.")
    for group in _GROUPS:
        _check_group(cfg, group, name)
    _check_train_loop(cfg, name)
    for split in SPLITS:
        _check_loader(split, cfg.get(f"{split}_dataloader"), name)
    _check_preprocessor(cfg, name)
    _check_schedulers(cfg, name)
    if cfg.get("activation_checkpointing") is not None:
        raise ValueError(
            f"{name}: activation_checkpointing would keep the first adapters from being trained: "
            "use model.grad_checkpointing=True."
        )
    wrapper = cfg.get("optim_wrapper") or {}
    if wrapper.get("type") == "AmpOptimWrapper" and get_device() == "cpu":
        raise ValueError(
            f"{name}: optim_wrapper.type='AmpOptimWrapper' needs a GPU, and this machine has none: "
            "use 'OptimWrapper'."
        )
    source = cfg.get("load_from")
    if source is not None and "://" not in str(source) and not Path(source).is_file():
        raise FileNotFoundError(f"{name}: load_from={str(source)!r} does not exist.")


def _check_group(cfg: Config, group: tuple[str, ...], name: str) -> None:
    missing = [key for key in group if cfg.get(key) is None]
    if missing and len(missing) < len(group):
        there = [key for key in group if key not in missing]
        raise ValueError(
            f"{name}: {', '.join(there)} without {', '.join(missing)}: set all of "
            f"{', '.join(group)}, or None for all of them."
        )


def _check_train_loop(cfg: Config, name: str) -> None:
    loop = cfg.get("train_cfg")
    if loop is None:
        return
    if "type" in loop and "by_epoch" in loop:
        raise ValueError(f"{name}: train_cfg has `type` and `by_epoch`; leave one of them out.")
    if "type" not in loop:
        if "by_epoch" not in loop:
            raise ValueError(f"{name}: train_cfg needs by_epoch=True (or False), or a `type`.")
        sampler = find(cfg.train_dataloader, ["sampler", "type"])
        if loop["by_epoch"] and ("sampler.type", "InfiniteSampler") in sampler:
            raise ValueError(
                f"{name}: train_dataloader.sampler.type='InfiniteSampler' has no end, so an epoch "
                "would never be over: use DefaultSampler, or train_cfg with by_epoch=False."
            )
        key = "max_epochs" if loop["by_epoch"] else "max_iters"
        if loop.get(key) is None:
            raise ValueError(f"{name}: train_cfg with by_epoch={loop['by_epoch']} needs {key}.")


def _check_loader(split: str, loader: Mapping[str, Any] | None, name: str) -> None:
    if loader is None:
        return
    key = f"{name}: {split}_dataloader"
    for part in ("dataset", "sampler"):
        if loader.get(part) is None:
            raise ValueError(f"{key} has no `{part}`.")
    if not loader.get("num_workers"):
        if loader.get("persistent_workers"):
            raise ValueError(
                f"{key}.persistent_workers=True with num_workers=0: there are no workers to keep. "
                "Set persistent_workers=False, or num_workers to at least 1."
            )
        if loader.get("prefetch_factor") is not None:
            raise ValueError(f"{key}.prefetch_factor needs workers: set num_workers to at least 1.")
    if split == "train":
        return
    batches = loader.get("batch_sampler") or {}
    if loader.get("drop_last") or batches.get("drop_last"):
        raise ValueError(
            f"{key}.drop_last=True would leave the last items out of the metrics: set it to False."
        )
    if loader.get("num_batch_per_epoch") is not None:
        raise ValueError(
            f"{key}.num_batch_per_epoch would leave items out of the metrics. To evaluate a part, "
            f"say so in the data: {split}_dataloader.dataset.indices=N."
        )


def _check_schedulers(cfg: Config, name: str) -> None:
    for key, one in find(cfg._cfg_dict, ["param_scheduler", "*"]):
        if not isinstance(one, Mapping):
            continue
        if one.get("convert_to_iter_based") and not one.get("by_epoch", True):
            raise ValueError(
                f"{name}: {key}.by_epoch=False counts iterations, so there is nothing for "
                "convert_to_iter_based=True to convert: leave it out."
            )
        for end in ("begin", "end"):
            whole = float(one.get(end) or 0).is_integer()
            if not whole and not one.get("convert_to_iter_based"):
                raise ValueError(
                    f"{name}: {key}.{end}={one[end]} is a part of an epoch, which only a schedule "
                    "by iterations has: set convert_to_iter_based=True, or use a whole number."
                )
        if one.get("end") is not None and one["end"] <= one.get("begin", 0):
            raise ValueError(f"{name}: {key}.end={one['end']} must be above {key}.begin.")


def _check_preprocessor(cfg: Config, name: str) -> None:
    outer, inner = cfg.get("data_preprocessor"), cfg.model.get("data_preprocessor")
    model = MODELS.get(cfg.model.type) if isinstance(cfg.model.type, str) else cfg.model.type
    ours = getattr(model, "__module__", "").startswith(f"{SCOPE}.")
    if outer is None and inner is None and ours:
        raise ValueError(
            f"{name}: model.data_preprocessor is missing: batches become tensors there. Set it to "
            "dict(type='MultimodalDataPreprocessor')."
        )
    if outer is not None and inner is not None and outer != inner:
        raise ValueError(
            f"{name}: nothing reads `data_preprocessor` where the model has one of its own: set "
            "model.data_preprocessor."
        )
