"""From a config to a runner, with errors that say which key is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config
from mmengine.registry import DefaultScope, Registry
from mmengine.runner import Runner

from uniadapter import registry
from uniadapter.utils.setup_env import register_all_modules

# Where the types of a config stand; `*` is every entry of a list or a dictionary.
_PLACES: dict[str, Registry] = {
    "{split}_dataloader.dataset": registry.DATASETS,
    "{split}_dataloader.dataset.pipeline.*": registry.TRANSFORMS,
    "{split}_dataloader.sampler": registry.DATA_SAMPLERS,
    "{split}_dataloader.collate_fn": registry.FUNCTIONS,
    "{split}_dataloader.worker_init_fn": registry.FUNCTIONS,
    "{split}_cfg": registry.LOOPS,
    "{split}_evaluator": registry.METRICS,
    "{split}_evaluator.*": registry.METRICS,
    "default_hooks.*": registry.HOOKS,
    "custom_hooks.*": registry.HOOKS,
    "optim_wrapper": registry.OPTIM_WRAPPERS,
    "optim_wrapper.optimizer": registry.OPTIMIZERS,
    "param_scheduler": registry.PARAM_SCHEDULERS,
    "param_scheduler.*": registry.PARAM_SCHEDULERS,
}


def build_runner(cfg: Config) -> Runner:
    """Build the runner of a config.

    Args:
        cfg: The config; ``launcher`` and ``work_dir`` are set.

    Returns:
        The runner.

    Raises:
        ValueError: If the config describes no run, names an unregistered type or an option that
            its type does not have.
    """
    name = cfg.filename or "The config"
    if "model" not in cfg:
        raise ValueError(f"{name} has no key `model`: a base or a fragment cannot be run.")
    register_all_modules(init_scope=False)
    # Imported here: the towers bring mmpretrain, which loops and hooks do without.
    from uniadapter.utils.model_config import check_model_cfg

    with DefaultScope.overwrite_default_scope(cfg.get("default_scope", registry.SCOPE)):
        check_model_cfg(cfg.model)
        check_types(cfg)
    return Runner.from_cfg(cfg)


def check_types(cfg: Config) -> None:
    """Check that the types outside of the model are registered.

    MMEngine builds most of them late and then names neither the key nor what would be right.

    Args:
        cfg: The config.

    Raises:
        ValueError: If one is not, naming its key and the nearest name.
    """
    for pattern, known in _PLACES.items():
        for split in ("train", "val", "test") if "{split}" in pattern else ("",):
            for key, found in _find(cfg._cfg_dict, pattern.format(split=split).split("."), ""):
                kind = found.get("type") if isinstance(found, dict) else None
                if isinstance(kind, str) and not _is_registered(kind, known):
                    raise ValueError(_unregistered(key, kind, known, cfg.filename))


def _find(node: Any, path: list[str], key: str) -> Iterator[tuple[str, Any]]:
    if not path:
        yield key, node
        return
    step, rest = path[0], path[1:]
    if isinstance(node, dict):
        names: list[Any] = list(node) if step == "*" else [step] if step in node else []
    elif isinstance(node, (list, tuple)) and step == "*":
        names = list(range(len(node)))
    else:
        names = []
    for name in names:
        yield from _find(node[name], rest, f"{key}.{name}" if key else str(name))


def _is_registered(kind: str, known: Registry) -> bool:
    if known.get(kind) is not None:
        return True
    # Functions are looked up in MMEngine's own registry, by a name that may have the scope.
    return known.parent is not None and known.parent.get(kind) is not None


def _unregistered(key: str, kind: str, known: Registry, filename: str | None) -> str:
    names = [*known.module_dict, *(known.parent.module_dict if known.parent else ())]
    close = difflib.get_close_matches(kind, names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return (
        f"{filename or 'The config'}: {key}.type={kind!r} is not registered.{hint} A class of "
        "another package needs custom_imports and its scope, such as 'mmpretrain.Resize'."
    )
