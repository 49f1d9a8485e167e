"""The project's models as ``model-index.yml`` and the metafiles beside the configs have them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .paths import resource, resources_root

# libyaml's reader where it is there: the metafiles are long.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class ModelEntry:
    """A model of a metafile.

    Attributes:
        name: Its name, such as ``uniadapter_msrvtt_r512``.
        config: Its config, from the project's root.
        tasks: What it has figures for, in order and each once.
        weights: Its weights: a path from the project's root or an address; None without any.
        meta: The whole entry.
    """

    name: str
    config: str
    tasks: tuple[str, ...]
    weights: str | None
    meta: dict[str, Any]


def read_models() -> list[ModelEntry]:
    """All models, in the order of the index.

    Raises:
        FileNotFoundError: If the package was copied without its configs.
    """
    return [
        _entry(model)
        for name in _read(resource("model-index.yml"))["Import"]
        for model in _read(resources_root() / name)["Models"]
    ]


def _read(path: Path) -> dict[str, Any]:
    with open(path, encoding="utf-8") as file:
        content: dict[str, Any] = yaml.load(file, Loader=_LOADER)
    return content


def _entry(model: dict[str, Any]) -> ModelEntry:
    results = model.get("Results") or []
    tasks = tuple(dict.fromkeys(result["Task"] for result in results))
    return ModelEntry(model["Name"], model["Config"], tasks, model.get("Weights"), model)
