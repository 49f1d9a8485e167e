"""What is wrong in the config of a model or of a part of one, by the key where it stands."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from uniadapter.registry import MODELS, PROJECTIONS, SCOPE, TOKENIZERS, found_by_name
from uniadapter.utils.options import near_name, option_names

# Registries of parts that are not built by MODELS, by the last key of their place.
_REGISTRIES = {"tokenizer": TOKENIZERS, "projection": PROJECTIONS}


def check_model_cfg(cfg: Mapping[str, Any], key: str = "model", foreign: bool = False) -> None:
    """Check that every ``type`` is registered and takes the options it is given.

    MMEngine finds out too, but its errors say neither which key of the config is wrong nor what
    would be right. Call it under the default scope ``uniadapter``.

    Args:
        cfg (Mapping): A config with a ``type``; parts of it that have one are checked as well.
        key (str): Where it stands in the config, for the error.
        foreign (bool): Types without a prefix are those of the default scope, of another project,
            which may know some of them by registries of its own: unknown ones are left to it.

    Raises:
        ValueError: If a type is unknown or missing, or does not take an option.
    """
    if not isinstance(cfg, Mapping):
        raise ValueError(f"{key} must be a dict with a `type`, got {cfg!r}.")
    kind = cfg.get("type")
    if kind is None:
        raise ValueError(f"{key} has no key 'type': name a class, such as type='RetrievalModel'.")
    registry = _REGISTRIES.get(key.rpartition(".")[2], MODELS)
    found: Any = kind
    if isinstance(kind, str):
        found = found_by_name(registry, kind) if foreign else registry.get(kind)
    if found is None and foreign:
        _check_parts(cfg, key, foreign)
        return
    if found is None:
        raise ValueError(
            f"{key}.type={kind!r} is not registered.{near_name(kind, registry.module_dict)} A "
            "class of another package needs custom_imports and its scope, such as "
            "'mmpretrain.ResNet'."
        )
    _check_numbers(cfg, key)
    options = option_names(found)
    if options is not None:
        # An adapter is given its places by the model, not by the config.
        options.discard("places")
    for name in cfg:
        if options is not None and name not in options and name not in ("type", "_scope_"):
            raise ValueError(
                f"{key}.{name} is no option of {found.__name__}.{near_name(name, options)} "
                f"It takes: {', '.join(sorted(options))}."
            )
    # Our classes build their parts in our scope, but for those that one says are another's.
    own = getattr(found, "__module__", "").startswith(f"{SCOPE}.")
    further = getattr(found, "foreign_parts", ()) if foreign else ()
    _check_parts(cfg, key, foreign and not own, *further)


def _check_parts(cfg: Mapping[str, Any], key: str, foreign: bool, *further: str) -> None:
    """Check the parts of a config that have a type; ``further`` ones are foreign anyway."""
    for name, value in cfg.items():
        if isinstance(value, Mapping) and "type" in value:
            check_model_cfg(value, f"{key}.{name}", foreign or name in further)


def _check_numbers(node: Any, key: str) -> None:
    """Refuse what is no number: it spreads over the weights without an error."""
    if isinstance(node, float) and math.isnan(node):
        raise ValueError(f"{key} is NaN: give a number.")
    if isinstance(node, Mapping):
        for name, value in node.items():
            _check_numbers(value, f"{key}.{name}")
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            _check_numbers(value, f"{key}.{index}")
