"""The project's models as ``model-index.yml`` and the metafiles beside the configs have them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from .json_files import brief
from .options import near_name
from .paths import find_config, resource, resources_root
from .yaml_files import read_yaml

_WORDS: dict[type, str] = {dict: "a mapping", list: "a list", str: "a text"}


@dataclass(frozen=True)
class ModelEntry:
    """A model of a metafile.

    Attributes:
        name: Its name, such as ``uniadapter_msrvtt_r512``.
        config: Its config, from the project's root.
        tasks: What it has figures for, in order and each once; without any, what it is for.
        weights: Its weights: a path from the project's root or an address, that of another
            project's file where there are none of ours; None without any.
        meta: The whole entry.
    """

    name: str
    config: str
    tasks: tuple[str, ...]
    weights: str | None
    meta: dict[str, Any]

    def has_task(self, task: str) -> bool:
        """Whether one of its tasks has these words, whatever their case, such as 'retrieval'."""
        wanted = _words(task)
        return any(wanted in _words(own) for own in self.tasks)

    def sources(self) -> list[str]:
        """Where its figures are from: ``'paper, table 2'``, or a command."""
        return [result["Source"] for result in self.meta.get("Results") or []]


def read_models() -> list[ModelEntry]:
    """All models, in the order of the index.

    Raises:
        FileNotFoundError: If the package was copied without its configs.
        ValueError: If the index or a metafile is damaged.
    """
    index = resource("model-index.yml")
    content = _of_kind(read_yaml(index), dict, f"{index}")
    return [
        _entry(model)
        for name in _of_kind(content.get("Import"), list, f"{index}: Import")
        for model in read_metafile(resources_root() / _of_kind(name, str, f"{index}: Import"))[
            "Models"
        ]
    ]


def read_metafile(path: str | Path, needs_config: bool = True) -> dict[str, list[dict[str, Any]]]:
    """Read a metafile.

    Args:
        path: The file.
        needs_config: Refuse a model without a ``Config``. One that entries are only added to may
            have such models.

    Returns:
        ``Collections`` and ``Models``, lists of entries that have a ``Name``; a model has a
        ``Config``, and each of its ``Results`` a ``Task``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no YAML, or an entry is of another kind; the error names it.
    """
    content = _of_kind(read_yaml(path) or {}, dict, f"{path}")
    found: dict[str, list[dict[str, Any]]] = {}
    for key in ("Collections", "Models"):
        found[key] = _of_kind(content.get(key) or [], list, f"{path}: {key}")
        for number, entry in enumerate(found[key], 1):
            where = f"{path}: {key}, entry {number}"
            _of_kind(_of_kind(entry, dict, where).get("Name"), str, f"{where}: Name")
    for model in found["Models"]:
        where = f"{path}: {model['Name']}"
        if needs_config or model.get("Config") is not None:
            _of_kind(model.get("Config"), str, f"{where}: Config")
        metadata = _of_kind(model.get("Metadata") or {}, dict, f"{where}: Metadata")
        _of_kind(metadata.get("Parameters") or {}, dict, f"{where}: Metadata.Parameters")
        _of_kind(model.get("Converted From") or {}, dict, f"{where}: Converted From")
        for result in _of_kind(model.get("Results") or [], list, f"{where}: Results"):
            task = _of_kind(result, dict, f"{where}: Results").get("Task")
            _of_kind(task, str, f"{where}: Results: Task")
            _of_kind(result.get("Metrics") or {}, dict, f"{where}: Results: Metrics")
    return found


def _of_kind(value: Any, kind: type, where: str) -> Any:
    """A value, which must be of a kind."""
    if not isinstance(value, kind):
        raise ValueError(f"{where} must be {_WORDS[kind]}, not {brief(value)}: mend the file.")
    return value


@lru_cache(maxsize=1)
def models_by_name() -> dict[str, ModelEntry]:
    """The models of :func:`read_models` by their names; read once."""
    return {model.name: model for model in read_models()}


def find_model(name: str) -> ModelEntry:
    """The model of a name, whatever its case.

    Raises:
        ValueError: If there is none; the error names the nearest.
    """
    models = models_by_name()
    found = models.get(name) or {key.lower(): m for key, m in models.items()}.get(name.lower())
    if found is None:
        raise ValueError(
            f"There is no model {name!r}.{near_name(name, models)} list_models() and `uniadapter "
            "list` name all."
        )
    return found


def config_file(name: str | Path) -> Path:
    """Resolve what a command calls a config.

    Args:
        name: What :func:`.paths.find_config` takes, or the name of a model.

    Returns:
        The path; that of a file that doesn't exist for the reader's own error.
    """
    file = find_config(name)
    if file.suffix or file.exists() or str(name) not in models_by_name():
        return file
    return resource(models_by_name()[str(name)].config)


def _words(text: str) -> str:
    return " ".join(text.lower().replace("-", " ").replace("_", " ").split())


def _entry(model: dict[str, Any]) -> ModelEntry:
    results = model.get("Results") or []
    tasks = list(dict.fromkeys(result["Task"] for result in results))
    if not tasks and "Task" in (model.get("Metadata") or {}):
        tasks = [model["Metadata"]["Task"]]
    weights = (model.get("Converted From") or model).get("Weights")
    return ModelEntry(model["Name"], model["Config"], tuple(tasks), weights, model)
