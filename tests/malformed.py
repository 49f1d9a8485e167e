"""Files with all that can be wrong in them, drawn from files that are right."""

from __future__ import annotations

import copy
import json
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from uniadapter.utils.errors import raised_on_purpose

#: Content of a file: bytes, a Text, the Lines of a JSON-lines file, or the value of a JSON file.
Content = Any


class Text(str):
    """A file that is a text itself."""


class Lines(list):
    """Rows of a JSON-lines file."""


DEEP = "[" * 20000 + "]" * 20000
ODD: list[Any] = [
    *(None, True, False, 0, 7, -1, 0.5, 1e308, 10**400, float("nan"), float("inf")),
    *("", " ", "7", "a\0b", "../a", "/", "é" * 300, "\ud800", "a\ud800b"),
    *([], [[]], {}, {"": None}, [None], ["a", 1], [[0, 1]], {"a": {"a": [{}]}}),
]
# Deep enough that walking it calls itself too often, though the parser gets through.
NESTED: Any = []
for _ in range(300):
    NESTED = [NESTED]


def encoded(content: Content) -> bytes:
    """What stands in a file."""
    if isinstance(content, bytes):
        return content
    if isinstance(content, Text):
        return content.encode()
    if isinstance(content, Lines):
        return "".join(json.dumps(row) + "\n" for row in content).encode()
    return json.dumps(content).encode()


def _places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _places(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _places(item, (*path, index))


@st.composite
def _other_values(draw: st.DrawFn, content: Any) -> Any:
    """The same with another value, without one, or with one twice, somewhere in it."""
    content = copy.deepcopy(content)
    path = draw(st.sampled_from(list(_places(content))))
    kind = draw(st.sampled_from(["other", "other", "drop", "twice", "key"]))
    rows, other = isinstance(content, Lines), draw(st.sampled_from([*ODD, NESTED]))
    if not path:
        return Lines(draw(st.sampled_from(ODD)) for _ in content) if rows else other
    holder: Any = content
    for key in path[:-1]:
        holder = holder[key]
    if kind == "drop":
        del holder[path[-1]]
    elif kind == "twice" and isinstance(holder, list):
        holder.append(copy.deepcopy(holder[path[-1]]))
    elif kind == "key" and isinstance(holder, dict):
        holder[draw(st.sampled_from(["", "é", "a\0b", "\ud800"]))] = holder.pop(path[-1])
    else:
        holder[path[-1]] = other
    return content


@st.composite
def _other_fields(draw: st.DrawFn, content: Text) -> Text:
    """The same text with another field, line or separator somewhere in it."""
    lines = content.split("\n")
    at = draw(st.integers(0, len(lines) - 1))
    separator = next((mark for mark in ("\t", ",") if mark in content), " ")
    fields = lines[at].split(separator)
    odd = ["", " ", '"', "nan", "-1", "9" * 5000, "a\0b", "\ufeff", "é", "\r", "x" * 140000, "²"]
    place = draw(st.integers(0, len(fields) - 1))
    kind = draw(st.sampled_from(["other", "drop", "more", "line", "twice"]))
    if kind == "line":
        lines[at] = draw(st.sampled_from(odd))
    elif kind == "twice":
        lines.insert(at, lines[at])
    else:
        new = [] if kind == "drop" else [draw(st.sampled_from(odd))]
        fields[place : place + (kind != "more")] = new
        lines[at] = separator.join(fields)
    return Text("\n".join(lines))


@st.composite
def _other_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """Noise, a cut, changed bytes, another encoding or other ends of lines."""
    kind = draw(st.sampled_from(["noise", "cut", "flip", "encoding", "ends", "deep", "digits"]))
    if kind == "noise":
        return draw(st.binary(max_size=40))
    if kind == "cut":
        return data[: draw(st.integers(0, len(data)))]
    if kind == "flip":
        changed = bytearray(data)
        for place in draw(st.lists(st.integers(0, len(data) - 1), min_size=1, max_size=4)):
            changed[place] = draw(st.integers(0, 255))
        return bytes(changed)
    if kind == "deep":
        return draw(st.sampled_from([DEEP, DEEP[:20000], '{"a":' * 20000])).encode()
    if kind == "digits":
        return b"9" * 5000
    if kind == "ends":
        return data.replace(b"\n", draw(st.sampled_from([b"\r\n", b"\r", b"\n\n", b"\0"])))
    text = data.decode("latin-1")
    encoding = draw(st.sampled_from(["utf-16", "utf-32", "utf-8-sig", "latin-1"]))
    return (text + " é").encode(encoding)


def spoiled(content: Content) -> st.SearchStrategy[bytes]:
    """A file that is wrong, or may be."""
    ways: list[st.SearchStrategy[bytes]] = [_other_bytes(encoded(content))]
    if isinstance(content, Text):
        ways.append(_other_fields(content).map(encoded))
    elif not isinstance(content, bytes):
        ways += [_other_values(content).map(encoded)] * 4
    return st.one_of(*ways)


def outcome(
    call: Callable[[], Any],
    folder: Path,
    names: tuple[str, ...] = (),
    own: type[Exception] | None = None,
) -> Any:
    """What a call returns; None where it ends with an error of ours that names a file.

    Args:
        call: Reads files of the folder.
        folder: Stands in the message, unless ``names`` are given.
        names: What else may stand there.
        own: The error of a tool's last words, exactly this class.
    """
    try:
        return call()
    except Exception as error:
        if not raised_on_purpose(error) and type(error) is not own:
            raise AssertionError(
                f"{type(error).__name__} is no error of ours:\n{traceback.format_exc()[-3000:]}"
            ) from error
        said = str(error)
        assert str(folder) in said or any(name in said for name in names), said[:3000]
        assert len(said) < 3000, said[:3000]
        return None
