"""``--cfg-options KEY=VALUE``: MMEngine's grammar, with errors that say what is wrong."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.config import DictAction

_CLOSING = {"(": ")", "[": "]", "{": "}"}
_REMEDY = (
    "write a config file with `_base_ = 'CONFIG'` and what differs, and give its path. A key of a "
    "dictionary that is there already is set by its dotted name, param_scheduler.0.T_max=3."
)


class CfgOptions(argparse.Action):
    """Reads ``KEY=VALUE`` into a dictionary, beside those that stand there already.

    A value is an int, a float, ``True``, ``False``, ``None`` or else a string; ``a,b`` and
    ``[a,b]`` are lists, ``(a,b)`` is a tuple, and they may be nested. Quotes around a value and
    spaces around its parts play no part. These are MMEngine's rules (``DictAction``), which ends in
    a traceback of its own where there is no ``=`` and where brackets do not match, recurses without
    end over ``[dict(type='A', x=1)]``, makes strings of other dictionaries and takes the spaces out
    of strings. Here a string keeps its spaces and the others are errors of the command line.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """See :class:`argparse.Action`."""
        options = dict(getattr(namespace, self.dest, None) or {})
        given = [values] if isinstance(values, str) else values or []
        for pair in given:
            key, equals, value = pair.partition("=")
            try:
                if not equals:
                    raise ValueError("there is no `=`: write KEY=VALUE")
                options[key] = parse_value(value)
            except ValueError as error:
                raise argparse.ArgumentError(self, f"{pair}: {error}") from error
        setattr(namespace, self.dest, options)


def parse_value(text: str) -> Any:
    """The value that a text stands for; see :class:`CfgOptions`.

    Raises:
        ValueError: If it is a dictionary, or its brackets are of no list and no tuple.
    """
    text = text.strip(" ").strip("'\"").strip(" ")
    if text.startswith("dict(") or (text.startswith("{") and text.endswith("}")):
        raise ValueError(f"{text} is a dictionary, which a command line can't give: {_REMEDY}")
    parts = list(_parts(text))
    if text[:1] in ("(", "[") and _encloses(text):
        inner = [parse_value(part) for part in _parts(text[1:-1])]
        return tuple(inner) if text[0] == "(" else inner
    if len(parts) > 1 or text.endswith(","):
        return [parse_value(part) for part in parts]
    if "," in text:
        raise ValueError(
            f"{text} has a comma between brackets that are no list of their own: lists are [a,b], "
            "tuples (a,b), and for anything else " + _REMEDY
        )
    return DictAction._parse_int_float_bool(text)


def _parts(text: str) -> Iterator[str]:
    """What stands between the commas that are in no brackets; nothing behind the last one.

    Raises:
        ValueError: If brackets do not match in a text that has commas, or begins with one.
    """
    opened: list[str] = []
    start, strict = 0, "," in text or text[:1] in ("(", "[")
    for place, letter in enumerate(text):
        if letter in _CLOSING:
            opened.append(_CLOSING[letter])
        elif letter in _CLOSING.values() and strict and (not opened or opened.pop() != letter):
            raise ValueError(f"a {letter} in {text} closes nothing")
        elif letter == "," and not opened:
            yield text[start:place]
            start = place + 1
    if strict and opened:
        raise ValueError(f"a {opened[-1]} is missing in {text}")
    if start < len(text):
        yield text[start:]


def _encloses(text: str) -> bool:
    """Whether the bracket that a text begins with is closed by its last letter; they match."""
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter in _CLOSING) - (letter in _CLOSING.values())
        if depth == 0:
            return place == len(text) - 1
    return False
