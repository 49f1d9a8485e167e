"""JSON that somebody else wrote, JSON that anybody can read, and values in messages."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Mapping
from typing import Any

_HALVES = re.compile("[\ud800-\udfff]")
_DIGEST = re.compile("[0-9a-f]{40}")
_short = reprlib.Repr()
_short.maxlist, _short.maxdict = 12, 6
_short.maxlevel, _short.maxstring, _short.maxother, _short.maxlong = 3, 80, 80, 40


def parse_json(content: str | bytes, **hooks: Any) -> Any:
    """Parse JSON, with or without a byte order mark.

    Args:
        content: The text; bytes are UTF-8.
        **hooks: Those of ``json.loads``.

    Raises:
        ValueError: When it is no UTF-8 or no JSON (``json.JSONDecodeError``, which knows the line),
            is nested more deeply than Python follows, or has a number of more digits than it reads.
    """
    text = content.decode() if isinstance(content, bytes) else content
    try:
        return json.loads(text.removeprefix("\ufeff"), **hooks)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def json_text(value: Any, **options: Any) -> str:
    """JSON in letters rather than escapes, but for halves of surrogate pairs.

    Files of others have such halves, and no encoding takes them.

    Args:
        value: What ``json.dumps`` takes.
        **options: Those of ``json.dumps``.
    """
    text = json.dumps(value, ensure_ascii=False, **options)
    return _HALVES.sub(lambda half: f"\\u{ord(half.group()):04x}", text)


def brief(value: Any) -> str:
    """A value in a few words for a message, however large or deeply nested it is."""
    return _short.repr(value)


def differences(old: Any, new: Any, words: Mapping[str, str] | None = None) -> list[str]:
    """In what plain values differ, in words for a message.

    Args:
        old: What was, usually a mapping of mappings.
        new: What is now.
        words: What keys are called; others by themselves.

    Returns:
        For each value inside that differs its name, and both values unless they are digests, which
        say nothing to anybody.
    """
    return _differences("it", old, new, words or {})


def _differences(name: str, old: Any, new: Any, words: Mapping[str, str]) -> list[str]:
    if old == new:
        return []
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = [*old, *(key for key in new if key not in old)]
        inside = [(words.get(key, str(key)), old.get(key), new.get(key)) for key in keys]
        return [said for one in inside for said in _differences(*one, words)]
    if any(isinstance(value, Mapping) or _DIGEST.search(str(value)) for value in (old, new)):
        return [name]
    return [f"{name} ({brief(old)} there, {brief(new)} now)"]
