"""Options of heads that a config may write beside those of the model."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from uniadapter.registry import MODELS
from uniadapter.utils.options import option_names

# Of the retrieval model in every config from before the heads were parts of their own.
HEAD_OPTIONS = (
    "embed_dim",
    "temperature",
    "train_temperature",
    "momentum",
    "queue_size",
    "alpha",
    "negatives",
)


def head_configs(
    contrast: Mapping[str, Any], matching: Mapping[str, Any] | None, flat: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Configs of the heads, each with the flat options that it takes.

    Args:
        contrast (Mapping): Config of the contrastive head.
        matching (Mapping, optional): Config of the matching head.
        flat (Mapping): Values of :data:`HEAD_OPTIONS`; None is not given.

    Returns:
        dict: Configs by role, ``contrast`` and perhaps ``matching``.

    Raises:
        ValueError: If no head takes an option, it is given in both places, or a config has no
            ``type``.
    """
    heads = (
        {"contrast": contrast} if matching is None else {"contrast": contrast, "matching": matching}
    )
    found: dict[str, dict[str, Any]] = {}
    takers: dict[str, str] = {}
    for role, config in heads.items():
        if not isinstance(config, Mapping) or "type" not in config:
            raise ValueError(f"model.{role}={config!r} must be a dict with a `type`.")
        found[role] = dict(config)
        kind = config["type"]
        cls = MODELS.get(kind) if isinstance(kind, str) else kind
        # An unknown type is an error when it is built.
        names = set() if cls is None else option_names(cls)
        takers.update(dict.fromkeys(HEAD_OPTIONS if names is None else names, role))
    for name, value in flat.items():
        if value is None:
            continue
        if name not in takers:
            kinds = " and ".join(str(config["type"]) for config in found.values())
            raise ValueError(
                f"model.{name}={value!r} is an option of neither head ({kinds}): take it out, or "
                f"set model.{name}=None where a base config gives it."
            )
        role = takers[name]
        if found[role].setdefault(name, value) != value:
            raise ValueError(
                f"model.{name}={value!r} and model.{role}.{name}={found[role][name]!r}: give it "
                "once."
            )
    return found


def option_value(config: Mapping[str, Any], name: str) -> Any:
    """What a head that is not built yet will have for an option.

    Args:
        config (Mapping): Its config.
        name (str): The option.

    Returns:
        The value of the config, or the default of its class; None where the class is not known.
    """
    if config.get(name) is not None:
        return config[name]
    kind = config["type"]
    cls = MODELS.get(kind) if isinstance(kind, str) else kind
    if cls is None:
        return None
    found = inspect.signature(cls).parameters.get(name)
    return None if found is None or found.default is found.empty else found.default
