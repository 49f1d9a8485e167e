"""YAML files that somebody else wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

# libyaml's reader where it is there: files may be long.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_DEEPEST = 500


def read_yaml(path: str | Path) -> Any:
    """Read a YAML file of plain values; nothing of it is run.

    Args:
        path: The file, with or without a byte order mark.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no UTF-8 or no YAML, or holds an object; the error says where.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist: name a YAML file.")
    return parse_yaml(file.read_bytes(), file)


def parse_yaml(content: str | bytes, path: str | Path) -> Any:
    """Parse YAML of plain values.

    Args:
        content: The text; bytes are UTF-8.
        path: Where it stands, for the error.

    Raises:
        ValueError: If it is no UTF-8 or no YAML, or holds an object; the error says where.
    """
    try:
        text = content.decode("utf-8-sig") if isinstance(content, bytes) else content
        _check_depth(text)
        return yaml.load(text, Loader=_LOADER)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f": line {mark.line + 1}" if mark is not None else ""
        said = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise ValueError(f"{path}{line}: not valid YAML ({said:.200}): mend it.") from error


def _check_depth(text: str) -> None:
    """Refuse what is nested so deeply that libyaml's reader, which calls itself, ends the process.

    Raises:
        ValueError: If it is.
    """
    # Other marks of a level need as many blanks as there are levels above it.
    if sum(text.count(mark) for mark in ("[", "{", "- -", "? ?")) < _DEEPEST:
        return
    level = 0
    for event in yaml.parse(text, Loader=_LOADER):
        level += isinstance(event, yaml.CollectionStartEvent)
        level -= isinstance(event, yaml.CollectionEndEvent)
        if level > _DEEPEST:
            raise ValueError("it is nested too deeply")
