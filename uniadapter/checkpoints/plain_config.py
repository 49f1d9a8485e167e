"""Configs as data: what of them is written to JSON, and which are built from a stranger's file."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.registry import Registry

from uniadapter.registry import MODELS, PROJECTIONS, SCOPE, TOKENIZERS
from uniadapter.utils.options import near_name

#: Registries whose types the config of a model may name.
OF_MODELS = (MODELS, TOKENIZERS, PROJECTIONS)
_TYPE = re.compile(r"(?:([A-Za-z]\w*)\.)?([A-Za-z]\w*)")
# A file beside the JSON: no folder, no drive, nothing hidden.
_FILE = re.compile(r"[A-Za-z0-9_][\w.+ -]*")


def to_json(value: Any, key: str) -> Any:
    """Turn a config into what JSON can hold.

    Args:
        value (Any): Nested dictionaries and lists.
        key (str): Where it stands, for the error.

    Returns:
        Any: The same; tuples become lists, paths strings.

    Raises:
        ValueError: If something in it is no data, or a number that JSON has not.
    """
    if isinstance(value, Mapping):
        if wrong := [name for name in value if not isinstance(name, str)]:
            raise ValueError(f"{key} has the key {wrong[0]!r}: keys of JSON are strings.")
        # Written by MMEngine where a config inherits from `uniadapter::...`; types are ours anyway.
        kept = {name: item for name, item in value.items() if (name, item) != ("_scope_", SCOPE)}
        return {name: to_json(item, f"{key}.{name}") for name, item in kept.items()}
    if isinstance(value, list | tuple):
        return [to_json(item, f"{key}.{index}") for index, item in enumerate(value)]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{key}={value} is no number of JSON: give a finite one.")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, type):
        raise ValueError(
            f"{key} is the class {value.__name__} itself, which can't be written as data: register "
            "it (@MODELS.register_module()) and give its name."
        )
    raise ValueError(f"{key} is a {type(value).__name__}, which can't be written as data.")


def find_type(kind: Any, registries: tuple[Registry, ...]) -> Any:
    """The class or function that is registered under a name, without importing by that name.

    A registry of MMEngine's imports whatever a dotted name names, which a file of a stranger must
    not choose. Types of another project (``'mmpretrain.ResNet'``) are found where that project
    was imported already.

    Args:
        kind (Any): The name; anything else is not found.
        registries (tuple[Registry]): Where it may be registered.

    Returns:
        Any: What is registered; None if there is nothing.
    """
    match = _TYPE.fullmatch(kind) if isinstance(kind, str) else None
    if match is None:
        return None
    scope, name = match.groups()
    for registry in registries:
        for found in _registries(registry, scope):
            if name in found.module_dict:
                return found.module_dict[name]
    return None


def _registries(registry: Registry, scope: str | None) -> Iterator[Registry]:
    """Registries that are asked for a type of a scope, this one and its parents for None."""
    if scope is None or scope == registry.scope:
        own: Registry | None = registry
        while own is not None:
            if own.scope in sys.modules:
                own.import_from_location()
            yield own
            own = own.parent if scope is None else None
    elif scope in sys.modules:
        child = registry.root._search_child(scope) if registry.parent is not None else None
        if child is not None:
            child.import_from_location()
            yield child


def parts(config: Any, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every dictionary with a ``type`` in a config, and where it stands."""
    if isinstance(config, dict):
        if "type" in config:
            yield key, config
        for name, item in config.items():
            yield from parts(item, f"{key}.{name}")
    elif isinstance(config, list):
        for index, item in enumerate(config):
            yield from parts(item, f"{key}.{index}")


def file_options(kind: Any, registries: tuple[Registry, ...] = OF_MODELS) -> tuple[str, ...]:
    """Options of a registered type that name a file, by its attribute ``file_options``."""
    return tuple(getattr(find_type(kind, registries), "file_options", ()))


def is_plain_name(name: Any) -> bool:
    """Whether a string names a file in a folder, and nothing outside it."""
    return isinstance(name, str) and _FILE.fullmatch(name) is not None and ".." not in name


def check_data(config: Any, key: str, registries: tuple[Registry, ...], path: Path) -> None:
    """Refuse a config of a file that names anything but registered types.

    Args:
        config (Any): From the file.
        key (str): Where it stands there.
        registries (tuple[Registry]): Where its types are registered.
        path (Path): The file, for the error.

    Raises:
        ValueError: If a type is not registered, or a key is one that MMEngine's configs act on.
    """
    for where, part in parts(config, key):
        # How a video is read is no registered type; its loader knows all there are.
        if not where.endswith(".backend") and find_type(part["type"], registries) is None:
            known = {name for registry in registries for name in registry.module_dict}
            raise ValueError(
                f"{path}: {where}.type={part['type']!r:.80} is not registered."
                f"{near_name(str(part['type']), known)} Only registered types are built: if it is "
                "of a package of your own, import that package first."
            )
    _refuse_private(config, key, path)


def _refuse_private(config: Any, key: str, path: Path) -> None:
    if isinstance(config, dict):
        for name, item in config.items():
            if name.startswith("_"):
                raise ValueError(f"{path}: {key}.{name} is no option of a model: take it out.")
            _refuse_private(item, f"{key}.{name}", path)
    elif isinstance(config, list):
        for index, item in enumerate(config):
            _refuse_private(item, f"{key}.{index}", path)


def change_files(config: Any, key: str, change: Callable[[str, str], str]) -> Any:
    """Replace the names of files in the config of a model, in place.

    Args:
        config (Any): The config.
        key (str): Where it stands.
        change (Callable): Takes the place of a name and the name, and gives the new one.

    Returns:
        Any: The config.
    """
    for where, part in parts(config, key):
        for option in file_options(part["type"]):
            if isinstance(part.get(option), str):
                part[option] = change(f"{where}.{option}", part[option])
    return config
