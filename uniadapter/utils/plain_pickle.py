"""Pickles of plain values, read without running what is in them."""

from __future__ import annotations

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

# What builds numbers, strings, bytes and containers, and finds nothing by a name.
_INSTRUCTIONS = """
MARK STOP POP POP_MARK DUP PROTO FRAME NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1
LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE
BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 EMPTY_LIST APPEND APPENDS LIST EMPTY_TUPLE
TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT DICT SETITEM SETITEMS EMPTY_SET ADDITEMS FROZENSET GET BINGET
LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE
"""
_PLAIN = frozenset(_INSTRUCTIONS.split())
_PUTS = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
# Before protocol 4 sets, and before protocol 3 bytes, are made by calls of these.
_CALLS = frozenset(("GLOBAL", "STACK_GLOBAL", "REDUCE"))
# A list that holds another one many times, and so on, is small in the file and huge outside.
_MOST_VALUES = 20_000_000
_DEEPEST = 64
_REMEDY = (
    "it may be damaged, or come from someone who means harm; get it again from where it was "
    "published."
)


def _bytes_of(text: str = "", encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1") or not isinstance(text, str):
        raise pickle.UnpicklingError("bytes in another encoding than latin1")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


_MAKERS = {
    ("_codecs", "encode"): _bytes_of,
    **{(home, "bytes"): _no_bytes for home in ("builtins", "__builtin__")},
    **{(home, "set"): set for home in ("builtins", "__builtin__")},
    **{(home, "frozenset"): frozenset for home in ("builtins", "__builtin__")},
}


class _Unpickler(pickle.Unpickler):
    """Finds nothing but what makes a set or bytes."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _MAKERS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _MAKERS[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it asks for an object from outside")


def read_plain_pickle(path: str | Path) -> Any:
    """Read a pickle that holds numbers, strings, bytes and Python's own containers, and no more.

    Nothing of the file is run: instructions that would find or call anything are refused before
    the first one is followed, and so are containers that would grow without end.

    Args:
        path: The file, of any protocol; of Python 2 as well, whose strings come as bytes.

    Returns:
        The value.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no whole pickle, or holds anything else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist.")
    data = path.read_bytes()
    _check_instructions(data, path)
    try:
        value = _Unpickler(io.BytesIO(data), encoding="bytes").load()
    # Broken files fail in many ways.
    except Exception as error:
        raise ValueError(
            f"{path}: no pickle of plain values ({error or type(error).__name__}): {_REMEDY}"
        ) from error
    _check_value(value, path)
    return value


def _check_instructions(data: bytes, path: Path) -> None:
    """Look at every instruction without following it."""
    puts = 0
    try:
        for count, (code, argument, place) in enumerate(pickletools.genops(data), start=1):
            if code.name not in _PLAIN and code.name not in _CALLS:
                raise ValueError(
                    f"{path}: byte {place}: the instruction {code.name} would find or call an "
                    f"object, and captions are lists, dictionaries and strings: {_REMEDY}"
                )
            asked = str(argument)
            if code.name == "GLOBAL" and tuple(asked.split(" ", 1)) not in _MAKERS:
                raise ValueError(
                    f"{path}: byte {place}: it asks for {asked.replace(' ', '.')}, which would run "
                    f"code: {_REMEDY}"
                )
            if code.name in _PUTS:
                # The reader makes room for as many as the number says.
                puts = max(puts, int(asked))
                if puts > count + 255:
                    raise ValueError(f"{path}: byte {place}: a memory of {puts} values: {_REMEDY}")
    except ValueError as error:
        if str(error).startswith(f"{path}: "):
            raise
        raise ValueError(f"{path}: no pickle ({error}): {_REMEDY}") from error
    except Exception as error:
        raise ValueError(f"{path}: no pickle ({error}): {_REMEDY}") from error


def _check_value(value: Any, path: Path) -> None:
    """Refuse what is not plain, what holds itself, and what is huge once it is written out."""
    left: list[tuple[Any, int]] = [(value, 0)]
    seen = 0
    while left:
        item, depth = left.pop()
        seen += 1
        if seen > _MOST_VALUES or depth > _DEEPEST:
            raise ValueError(
                f"{path}: containers within containers without end ({seen} values, {depth} deep): "
                f"{_REMEDY}"
            )
        if isinstance(item, dict):
            left += ((part, depth + 1) for pair in item.items() for part in pair)
        elif isinstance(item, list | tuple | set | frozenset):
            left += ((part, depth + 1) for part in item)
        elif not (item is None or isinstance(item, str | bytes | bytearray | int | float)):
            raise ValueError(f"{path}: holds a {type(item).__name__}: {_REMEDY}")
