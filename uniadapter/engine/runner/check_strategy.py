"""Which runner a config asks for, and that it reads what the config says of devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from mmengine.registry import STRATEGIES
from mmengine.runner import FlexibleRunner, Runner

from uniadapter import registry
from uniadapter.utils.options import near_name

from .check_packages import require_package

# What one of the two reads and the other does not, with what stands in its place there.
_RUNNER_ALONE = {
    "activation_checkpointing": "strategy.activation_checkpointing of a FSDPStrategy",
    "efficient_conv_bn_eval": "",
    "find_unused_parameters": "strategy.model_wrapper=dict(find_unused_parameters=...)",
    "model_wrapper_cfg": "strategy.model_wrapper",
    "sync_bn": "strategy.sync_bn",
}
_FLEXIBLE_ALONE = ("strategy", "init_weights_for_test_or_val")
# What the runner hands to its strategy.
_OF_THE_RUNNER = {
    "work_dir": "work_dir",
    "experiment_name": "experiment_name",
    "auto_scale_lr": "auto_scale_lr",
    "env_kwargs": "env_cfg and randomness",
    "log_kwargs": "log_level",
}
# Of one whole model in every process. The others cut it into pieces.
_WHOLE = ("SingleDeviceStrategy", "DDPStrategy")


def runner_class(cfg: Config) -> type[Runner] | type[FlexibleRunner]:
    """The runner that a config asks for.

    Args:
        cfg: The config.

    Returns:
        The class.

    Raises:
        ValueError: If it is not registered.
    """
    kind = cfg.get("runner_type", "Runner")
    found = registry.RUNNERS.get(kind) if isinstance(kind, str) else kind
    if found is None:
        raise ValueError(
            f"{cfg.filename or 'The config'}: runner_type={kind!r} is not registered."
            f"{near_name(str(kind), registry.RUNNERS.module_dict)} A class of your own needs "
            "custom_imports and @RUNNERS.register_module()."
        )
    return found


def check_strategy(cfg: Config, kind: type[Runner] | type[FlexibleRunner]) -> None:
    """Check that the runner reads every key on devices, and that its strategy can be built.

    Args:
        cfg: The config, with ``launcher``.
        kind: What :func:`runner_class` gave.

    Raises:
        ValueError: Naming the key and what to set in its place, or the package that is missing.
    """
    name = cfg.filename or "The config"
    if not issubclass(kind, FlexibleRunner):
        for key in _FLEXIBLE_ALONE:
            if cfg.get(key) is not None:
                raise ValueError(
                    f"{name}: nothing reads `{key}`: it is of runner_type='FlexibleRunner', and "
                    f"this run's is {kind.__name__!r}. Set runner_type, or leave {key} out."
                )
        return
    for key, place in _RUNNER_ALONE.items():
        if cfg.get(key) is not None:
            instead = f" In its place: {place}." if place else " Leave it out."
            raise ValueError(f"{name}: nothing reads `{key}` with a FlexibleRunner.{instead}")
    saving = (cfg.get("default_hooks") or {}).get("checkpoint") or {}
    for key in ("backend_args", "file_client_args"):
        if isinstance(saving, Mapping) and saving.get(key) is not None:
            raise ValueError(
                f"{name}: nothing reads `default_hooks.checkpoint.{key}` with a FlexibleRunner, "
                "whose strategy writes to the file system. Leave it out."
            )
    strategy = cfg.get("strategy")
    if isinstance(strategy, Mapping):
        _check_one(cfg, strategy, name)
    elif isinstance(strategy, str):
        raise ValueError(f"{name}: strategy={strategy!r} must be dict(type={strategy!r}).")


def strategy_name(cfg: Config) -> str:
    """The name of a config's strategy; MMEngine's choice where it names none."""
    strategy = cfg.get("strategy")
    if strategy is None:
        return "DDPStrategy" if cfg.get("launcher", "none") != "none" else "SingleDeviceStrategy"
    if not isinstance(strategy, Mapping):
        return type(strategy).__name__
    kind = strategy.get("type")
    return kind.rpartition(".")[2] if isinstance(kind, str) else getattr(kind, "__name__", "")


def _check_one(cfg: Config, strategy: Mapping[str, Any], name: str) -> None:
    kind, called = strategy.get("type"), strategy_name(cfg)
    if kind is None:
        raise ValueError(f"{name}: strategy has no `type`: set dict(type='DDPStrategy', ...).")
    for key, place in _OF_THE_RUNNER.items():
        if key in strategy:
            raise ValueError(f"{name}: strategy.{key} is the runner's to say: set {place}.")
    require_package(f"{name}: strategy.type", called)
    if called == "FSDPStrategy" and STRATEGIES.get(called) is None:
        raise ValueError(
            f"{name}: strategy.type={called!r}: this build of torch has no torch.distributed.fsdp."
        )
    alone = cfg.get("launcher", "none") == "none"
    if alone and called in ("DDPStrategy", "FSDPStrategy"):
        raise ValueError(
            f"{name}: strategy.type={called!r} needs processes that a launcher starts: "
            "tools/dist_train.sh CONFIG NUMBER, or leave `strategy` out for one process."
        )
    if not alone and called == "SingleDeviceStrategy":
        raise ValueError(
            f"{name}: strategy.type='SingleDeviceStrategy' would train a model of its own in every "
            "process of the launcher: leave `strategy` out, or use DDPStrategy."
        )
    if called not in _WHOLE:
        _check_saving(cfg, called, name)


def _check_saving(cfg: Config, called: str, name: str) -> None:
    """Strategies of pieces save themselves: hooks of ours would take a piece for the whole."""
    hooks = dict(find_hooks(cfg))
    for key, kind in hooks.items():
        kind = kind.rpartition(".")[2] if isinstance(kind, str) else getattr(kind, "__name__", "")
        if kind == "SafeCheckpointHook":
            raise ValueError(
                f"{name}: {key}.type='SafeCheckpointHook' reads whole tensors, and {called} gives "
                f"every process a piece: set {key}.type='mmengine.CheckpointHook', which saves as "
                "the strategy does, frozen weights included."
            )
        if kind in ("EMAHook", "FrozenPrecisionHook"):
            raise ValueError(
                f"{name}: {key}.type={kind!r} changes whole tensors, and {called} gives every "
                "process a piece: leave the hook out."
            )


def find_hooks(cfg: Config) -> list[tuple[str, Any]]:
    """(key, type) of every hook of a config that is written as a dictionary."""
    found = [(f"default_hooks.{k}", hook) for k, hook in (cfg.get("default_hooks") or {}).items()]
    found += [(f"custom_hooks.{i}", hook) for i, hook in enumerate(cfg.get("custom_hooks") or ())]
    return [(key, hook.get("type")) for key, hook in found if isinstance(hook, Mapping)]
