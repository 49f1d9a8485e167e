"""Which options a class or function takes, so that one that nothing reads is found."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable
from dataclasses import fields
from typing import Any


def option_names(found: Any) -> set[str] | None:
    """Names of the options of a class or function.

    Args:
        found: A class, whose options include those it hands to its base classes, those it names in
            ``keyword_options`` and takes out of its ``**kwargs``, and the fields of ``Options``, a
            dataclass that takes all of its ``**kwargs``; or a function.

    Returns:
        The names; None where it takes any, since what it does with them cannot be seen.
    """
    if not inspect.isclass(found):
        own, rest = _named(found, skip=0)
        return None if rest else own
    names: set[str] = set()
    rest = False
    for cls in inspect.getmro(found):
        constructor = vars(cls).get("__init__")
        if constructor is None:
            continue
        if cls is object:
            break
        own, rest = _named(constructor, skip=1)
        names |= own | set(vars(cls).get("keyword_options", ()))
        if (declared := vars(cls).get("Options")) is not None:
            names |= {field.name for field in fields(declared)}
            rest = False
        if not rest:
            return names
    return None if rest else names


def near_name(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """A sentence for an error message that names the nearest known name; empty without one."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return f" Did you mean {close[0]!r}?" if close else ""


def _named(function: Any, skip: int) -> tuple[set[str], bool]:
    """Named parameters behind the first ``skip``, and whether any others are taken too."""
    parameters = list(inspect.signature(function).parameters.values())[skip:]
    rest = any(p.kind is p.VAR_KEYWORD for p in parameters)
    return {p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}, rest
