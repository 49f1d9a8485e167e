"""Top-level names of config files that nothing reads.

A config file is a program. A variable of it (``data_root``, ``train_pipeline``) acts where the file
uses it, while it is read; a file that inherits and assigns the variable anew changes nothing,
because the base's dictionaries are finished by then.
"""

from __future__ import annotations

import ast
import inspect
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import Runner

from .options import near_name
from .paths import base_path

# Keys that MMEngine's runners read from the config without being arguments of its constructor,
# and `custom_imports` and `runner_type`, which are read before it.
RUNNER_KEYS = (frozenset(inspect.signature(Runner.__init__).parameters) - {"self", "cfg"}) | {
    "activation_checkpointing",
    "compile",
    "custom_imports",
    "efficient_conv_bn_eval",
    "find_unused_parameters",
    "init_weights_for_test_or_val",
    "model_wrapper_cfg",
    "runner_type",
    "strategy",
    "sync_bn",
}
# Keys that other versions of the OpenMMLab packages read, and what stands in their place.
_RETIRED = {
    "checkpoint_config": "default_hooks.checkpoint",
    "data": "train_dataloader, val_dataloader and test_dataloader",
    "dist_params": "env_cfg.dist_cfg",
    "evaluation": "val_evaluator and train_cfg.val_interval",
    "log_config": "default_hooks.logger",
    "lr_config": "param_scheduler",
    "optimizer": "optim_wrapper.optimizer",
    "optimizer_config": "optim_wrapper",
    "resume_from": "resume=True with load_from, or --resume FILE",
    "runner": "train_cfg",
    "seed": "randomness.seed",
    "total_epochs": "train_cfg.max_epochs",
    "workflow": "train_cfg.val_interval",
}
# How alike a name has to be to a key of the runner to be taken for a slip of it.
_SLIP = 0.85
_INHERITED = re.compile(r"\b_base_\.(\w+)")


def check_file_variables(file: Path, cfg: Mapping[str, Any]) -> None:
    """Find assignments of a config file, or of one that it inherits from, that change nothing.

    Args:
        file: The config file.
        cfg: What it was merged to.

    Raises:
        ValueError: If a file that inherits assigns a name that neither it nor the runner reads.
    """
    _check_file(file, cfg, frozenset())


def check_runner_keys(cfg: Mapping[str, Any], name: str) -> None:
    """Refuse slips of the runner's keys, and keys of other versions.

    Other unknown keys are variables of the file that were used while it was read.

    Args:
        cfg: A whole config.
        name: Its file, for the error.

    Raises:
        ValueError: Naming the key that is right.
    """
    for key in cfg:
        if key not in RUNNER_KEYS:
            remedy = runner_key_hint(key)
            if remedy:
                raise ValueError(f"{name}: nothing reads the key `{key}`.{remedy}")


def runner_key_hint(key: str) -> str:
    """A sentence on the runner's key that an unknown one stands for; empty where none is near."""
    if key in _RETIRED:
        return f" In its place: {_RETIRED[key]}."
    return near_name(key, RUNNER_KEYS, _SLIP)


def places_of(cfg: Mapping[str, Any], name: str, value: Any) -> list[str]:
    """Dotted keys, below those that the runner reads, that have the value of a variable.

    Args:
        cfg: A whole config.
        name: The variable. Numbers and switches are found under its name only, since others are
            equal by chance.
        value: Its value.

    Returns:
        In the order of the config; nothing below a place that was found.
    """
    chance = not value or not isinstance(value, (str, Mapping, list, tuple))
    places = [p for k, node in cfg.items() if k in RUNNER_KEYS for p in _places(node, value, k)]
    return [place for place in places if not chance or place.rsplit(".", 1)[-1] == name]


def _places(node: Any, value: Any, key: str) -> Iterator[str]:
    # True == 1, but a switch is no number.
    if type(node) is type(value) and node == value:
        yield key
    elif isinstance(node, Mapping):
        for name, part in node.items():
            yield from _places(part, value, f"{key}.{name}")
    elif isinstance(node, (list, tuple)):
        for index, part in enumerate(node):
            yield from _places(part, value, f"{key}.{index}")


def _check_file(file: Path, cfg: Mapping[str, Any], inherited: frozenset[str]) -> None:
    """Check one file and its bases; ``inherited`` are names that files above read from it."""
    text = file.read_text(encoding="utf-8") if file.suffix == ".py" and file.is_file() else ""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        # A template such as {{$NAME:0.1}} that only MMEngine's own reader fills in.
        return
    assigned = dict(_assignments(tree))
    bases = _bases(assigned.get("_base_"), file.parent)
    read = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    unread = [
        n
        for n in assigned
        if n not in {*RUNNER_KEYS, "_base_"} and n not in read and n not in inherited
    ]
    if bases and unread:
        raise ValueError(_message(file, unread[0], bases, cfg))
    for name in unread:
        # A file without bases may be a whole config as a run wrote it, variables and all; their
        # values may have been overridden where they were used.
        if name in cfg and not places_of(cfg, name, cfg[name]):
            print_log(
                f"{file}: nothing reads `{name}`, and its value stands nowhere else. If you "
                "changed it, change the keys below the data loaders or the model instead.",
                "current",
                logging.WARNING,
            )
    for base in bases:
        _check_file(base, cfg, inherited | set(_INHERITED.findall(text)))


def _assignments(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            for target in statement.targets:
                if isinstance(target, ast.Name):
                    yield target.id, statement.value


def _bases(node: ast.expr | None, folder: Path) -> list[Path]:
    try:
        named = [] if node is None else ast.literal_eval(node)
    except ValueError:
        return []
    return [base_path(base, folder) for base in ([named] if isinstance(named, str) else named)]


def _message(file: Path, name: str, bases: list[Path], cfg: Mapping[str, Any]) -> str:
    values = [Config.fromfile(str(base)).get(name) for base in bases]
    places = [place for value in values for place in places_of(cfg, name, value)]
    if places:
        return (
            f"{file}: nothing reads `{name}`: its base was finished with the value it has there, "
            f"and a new one changes nothing. Set the keys that have it: {', '.join(places)}."
        )
    return (
        f"{file}: nothing reads `{name}`.{runner_key_hint(name)} Remove it, or use it in the file."
    )
