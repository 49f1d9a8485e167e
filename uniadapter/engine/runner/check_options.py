"""Options of a config outside of the model: one that nothing reads is an error with its key."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import init_dist
from mmengine.hooks import CheckpointHook
from mmengine.registry import STRATEGIES, DefaultScope, Registry
from mmengine.runner import Runner
from mmengine.utils.dl_utils import set_multi_processing
from torch.utils.data import DataLoader

from uniadapter import registry
from uniadapter.utils.options import near_name, option_names

SPLITS = ("train", "val", "test")
# MMEngine's two ways of clipping, which it tells apart by a type of its own.
_CLIPPING = Registry("clip_grad")
_CLIPPING.register_module("norm", module=torch.nn.utils.clip_grad_norm_)
_CLIPPING.register_module("value", module=torch.nn.utils.clip_grad_value_)
# Where the types of a config stand; `*` is every entry of a list or a dictionary.
_PLACES: dict[str, Registry] = {
    "{split}_dataloader.dataset": registry.DATASETS,
    "{split}_dataloader.dataset.dataset": registry.DATASETS,
    "{split}_dataloader.dataset.datasets.*": registry.DATASETS,
    "{split}_dataloader.dataset.pipeline.*": registry.TRANSFORMS,
    "{split}_dataloader.dataset.datasets.*.pipeline.*": registry.TRANSFORMS,
    "{split}_dataloader.sampler": registry.DATA_SAMPLERS,
    "{split}_dataloader.batch_sampler": registry.DATA_SAMPLERS,
    "{split}_dataloader.collate_fn": registry.FUNCTIONS,
    "{split}_dataloader.worker_init_fn": registry.FUNCTIONS,
    "{split}_cfg": registry.LOOPS,
    "{split}_evaluator": registry.METRICS,
    "{split}_evaluator.*": registry.METRICS,
    "{split}_evaluator.metrics.*": registry.METRICS,
    "{split}_evaluator.metrics.*.*": registry.METRICS,
    "default_hooks.*": registry.HOOKS,
    "custom_hooks.*": registry.HOOKS,
    "optim_wrapper": registry.OPTIM_WRAPPERS,
    "optim_wrapper.clip_grad": _CLIPPING,
    "optim_wrapper.optimizer": registry.OPTIMIZERS,
    "param_scheduler": registry.PARAM_SCHEDULERS,
    "param_scheduler.*": registry.PARAM_SCHEDULERS,
    "log_processor": registry.LOG_PROCESSORS,
    "model_wrapper_cfg": registry.MODEL_WRAPPERS,
    "strategy": STRATEGIES,
    "strategy.model_wrapper": registry.MODEL_WRAPPERS,
    "visualizer": registry.VISUALIZERS,
    "visualizer.vis_backends.*": registry.VISBACKENDS,
}
# What MMEngine takes where no type is given.
_DEFAULT_TYPES = {
    "val_cfg": "ValLoop",
    "test_cfg": "TestLoop",
    "optim_wrapper": "OptimWrapper",
    "optim_wrapper.clip_grad": "norm",
    "log_processor": "LogProcessor",
}
# Keys that the runner or the registry takes out before the constructor is called.
_TAKEN_OUT = {
    "{split}_cfg": {"by_epoch"},
    "default_hooks.*": {"priority"},
    "custom_hooks.*": {"priority"},
    "optim_wrapper": {"constructor", "optimizer", "paramwise_cfg"},
    "param_scheduler": {"convert_to_iter_based"},
    "param_scheduler.*": {"convert_to_iter_based"},
}
# Where MMEngine only says that a key `type` is missing somewhere.
_NEED_TYPES = (
    "{split}_dataloader.dataset",
    "{split}_dataloader.dataset.datasets.*",
    "{split}_dataloader.dataset.pipeline.*",
    "{split}_dataloader.dataset.datasets.*.pipeline.*",
    "{split}_dataloader.sampler",
    "default_hooks.*",
    "custom_hooks.*",
    "optim_wrapper.optimizer",
    "visualizer",
    "visualizer.vis_backends.*",
)
_LOADER_KEYS = {"dataset", "num_batch_per_epoch", "disable_subprocess_warning"}


def find(node: Any, path: list[str], key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) for every place of a config that a pattern names.

    Args:
        node: The config, or a part of it.
        path: Keys; ``*`` is every entry.
        key: Where ``node`` stands.
    """
    if not path:
        yield key, node
        return
    step, rest = path[0], path[1:]
    if isinstance(node, Mapping):
        names: list[Any] = list(node) if step == "*" else [step] if step in node else []
    elif isinstance(node, (list, tuple)) and step == "*":
        names = list(range(len(node)))
    else:
        names = []
    for name in names:
        yield from find(node[name], rest, f"{key}.{name}" if key else str(name))


def check_options(cfg: Config) -> None:
    """Check that types outside of the model are registered and take the options they are given.

    MMEngine builds most of them late, some at the first save, and then names neither the key nor
    what would be right. Types are looked up in the config's ``default_scope``.

    Args:
        cfg: The config.

    Raises:
        ValueError: If one is not, naming its key and the nearest name.
    """
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope") or registry.SCOPE):
        _check_all(cfg)


def _check_all(cfg: Config) -> None:
    for pattern, known in _PLACES.items():
        for split in SPLITS if "{split}" in pattern else ("",):
            for key, found in find(cfg._cfg_dict, pattern.format(split=split).split(".")):
                if isinstance(found, Mapping):
                    _check_typed(key, found, pattern, known, cfg.filename)
    constructor = cfg.get("optim_wrapper", {}) and cfg.optim_wrapper.get("constructor")
    known = registry.OPTIM_WRAPPER_CONSTRUCTORS
    if isinstance(constructor, str) and registry.found_by_name(known, constructor) is None:
        raise ValueError(
            _unregistered("optim_wrapper.constructor", constructor, known, cfg.filename)
        )
    for pattern, names in _untyped().items():
        for split in SPLITS if "{split}" in pattern else ("",):
            for key, found in find(cfg._cfg_dict, pattern.format(split=split).split(".")):
                if isinstance(found, Mapping):
                    _check_names(key, found, names, "", cfg.filename)


def _check_typed(
    key: str, found: Mapping[str, Any], pattern: str, known: Registry, filename: str | None
) -> None:
    kind = found.get("type", _DEFAULT_TYPES.get(key))
    if pattern == "{split}_evaluator" and "metrics" in found:
        # MMEngine tells an evaluator from a metric by this key.
        known, kind = registry.EVALUATOR, found.get("type", "Evaluator")
    if key == "train_cfg" and "type" not in found:
        kind = "EpochBasedTrainLoop" if found.get("by_epoch", True) else "IterBasedTrainLoop"
    target: Any = kind
    if isinstance(kind, str):
        target = registry.found_by_name(known, kind)
        if target is None:
            raise ValueError(_unregistered(f"{key}.type", kind, known, filename))
    if target is None:
        if pattern in _NEED_TYPES:
            raise ValueError(f"{filename or 'The config'}: {key} has no `type`.")
        return
    names = option_names(target)
    if inspect.isclass(target) and issubclass(target, CheckpointHook):
        # It hands what it does not know to the function that saves, at the first save.
        names = {
            "export_adapter",
            *_parameters(CheckpointHook),
            *_parameters(Runner.save_checkpoint),
        }
    if names is not None:
        names = names | _TAKEN_OUT.get(pattern, set())
        _check_names(key, found, names, target.__name__, filename)


def _check_names(
    key: str, found: Mapping[str, Any], names: set[str], owner: str, filename: str | None
) -> None:
    for name in found:
        if name not in names and name not in ("type", "_scope_"):
            raise ValueError(
                f"{filename or 'The config'}: {key}.{name} is no option"
                f"{f' of {owner}' if owner else ''}.{near_name(name, names)} "
                f"It takes: {', '.join(sorted(names))}."
            )


def _untyped() -> dict[str, set[str]]:
    """Dictionaries without a type that the runner reads, and the keys that it knows."""
    return {
        "{split}_dataloader": _parameters(DataLoader) | _LOADER_KEYS,
        "auto_scale_lr": {"enable", "base_batch_size"},
        "compile": _parameters(torch.compile) - {"model"} | {"target"},
        "env_cfg": {"cudnn_benchmark", "mp_cfg", "dist_cfg", "resource_limit"},
        "env_cfg.mp_cfg": _parameters(set_multi_processing) - {"distributed"},
        "env_cfg.dist_cfg": _parameters(init_dist)
        | _parameters(torch.distributed.init_process_group) - {"launcher"},
        "randomness": _parameters(Runner.set_randomness),
    }


def _parameters(function: Callable) -> set[str]:
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    found = inspect.signature(function).parameters.values()
    return {p.name for p in found if p.kind not in kinds} - {"self"}


def _unregistered(key: str, kind: str, known: Registry, filename: str | None) -> str:
    names = [*known.module_dict, *(known.parent.module_dict if known.parent else ())]
    return (
        f"{filename or 'The config'}: {key}={kind!r} is not registered."
        f"{near_name(kind, names)} A class of another package needs custom_imports and its scope, "
        "such as 'mmpretrain.Resize'."
    )
