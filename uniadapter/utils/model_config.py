"""Checking the ``model`` part of a config before it is built, so that a typo names its key."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from uniadapter.registry import MODELS


def check_model_cfg(cfg: Mapping[str, Any], key: str = "model") -> None:
    """Check that every ``type`` is registered and takes the options it is given.

    MMEngine finds out too, but its errors say neither which key of the config is wrong nor what
    would be right. Call it under the default scope ``uniadapter``.

    Args:
        cfg (Mapping): A config with a ``type``; parts of it that have one are checked as well.
        key (str): Where it stands in the config, for the error.

    Raises:
        ValueError: If a type is unknown or missing, or does not take an option.
    """
    kind = cfg.get("type")
    if kind is None:
        raise ValueError(f"{key} has no key 'type': name a class, such as type='RetrievalModel'.")
    found = MODELS.get(kind) if isinstance(kind, str) else kind
    if found is None:
        raise ValueError(
            f"{key}.type={kind!r} is not registered.{_hint(kind, MODELS.module_dict)} A class of "
            "another package needs custom_imports and its scope, such as 'mmpretrain.ResNet'."
        )
    options = _options(found)
    for name, value in cfg.items():
        if options is not None and name not in options and name not in ("type", "_scope_"):
            raise ValueError(
                f"{key}.{name} is no option of {found.__name__}.{_hint(name, options)} "
                f"It takes: {', '.join(sorted(options))}."
            )
        if isinstance(value, Mapping) and "type" in value:
            check_model_cfg(value, f"{key}.{name}")


def _hint(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _options(found: Any) -> set[str] | None:
    """Names of a class's options, those it hands to its base classes included; None: any."""
    names: set[str] = set()
    for cls in inspect.getmro(found) if inspect.isclass(found) else ():
        constructor = vars(cls).get("__init__")
        if constructor is None:
            continue
        parameters = list(inspect.signature(constructor).parameters.values())[1:]
        names.update(p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL))
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            # An adapter is given its slots by the model, not by the config.
            return names - {"slots"}
    return None
