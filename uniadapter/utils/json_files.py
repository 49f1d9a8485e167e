"""JSON that somebody else wrote, JSON that anybody can read, and values in messages."""

from __future__ import annotations

import json
import re
import reprlib
from typing import Any

_HALVES = re.compile("[\ud800-\udfff]")
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
