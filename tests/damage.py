"""Damage to files of any kind, drawn: what a disk, a network or a careless copy does to bytes."""

from __future__ import annotations

import gzip
import io
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st

Bytes = st.SearchStrategy[bytes]


def _zip() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a.txt"), "a")
    return content.getvalue()


#: Files of another kind that may stand under a name.
OTHERS: dict[str, bytes] = {
    "a web page": b"<!DOCTYPE html><html>404</html>",
    "a pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "gzip": gzip.compress(b"a" * 99, mtime=0),
    "zip": _zip(),
    "a pickle": pickle.dumps({"a": [1, 2.0, "b"]}),
    "JSON": b'{"a": 1}',
    "text": b"a text\nof two lines\n",
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(99),
    "numpy": b"\x93NUMPY\x01\x00" + bytes(99),
    "parquet": b"PAR1" + bytes(99) + b"PAR1",
    "a database": b"SQLite format 3\0" + bytes(99),
    "UTF-16": "a text".encode("utf-16"),
}


def _cut(data: bytes) -> Bytes:
    return st.integers(0, max(len(data) - 1, 0)).map(lambda end: data[:end])


def _flips(start: int, end: int) -> Callable[[bytes], Bytes]:
    """Other bytes at one to four places of a part, counted from the end where negative."""

    def make(data: bytes) -> Bytes:
        part = range(len(data))[start : end or None] or range(len(data))
        changes = st.dictionaries(
            st.sampled_from(part), st.integers(0, 255), min_size=1, max_size=4
        )
        return changes.map(lambda known: _with(data, known))

    return make


def _with(data: bytes, changes: Mapping[int, int]) -> bytes:
    changed = bytearray(data)
    for place, value in changes.items():
        changed[place] = value
    return bytes(changed)


@st.composite
def _zeros(draw: st.DrawFn, data: bytes) -> bytes:
    """A run of zeros, as of a block that was never written."""
    start = draw(st.integers(0, max(len(data) - 1, 0)))
    size = draw(st.integers(1, 600))
    return data[:start] + bytes(min(size, len(data) - start)) + data[start + size :]


@st.composite
def _moved(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes left out of, put into or behind the file."""
    at, size = draw(st.integers(0, len(data))), draw(st.integers(1, 40))
    more = draw(st.sampled_from([b"", b"\n", b"\0", b"\xef\xbb\xbf", b"\xff", data[:size]]))
    return data[:at] + more + data[at + (0 if more else size) :]


@st.composite
def _length(draw: st.DrawFn, data: bytes) -> bytes:
    """Another number in the first eight bytes, which may be the length of a head."""
    size = draw(
        st.sampled_from([0, 1, 7, 8, len(data) - 8, len(data), 2**31, 2**63 - 1, 2**63, 2**64 - 1])
    )
    return max(size, 0).to_bytes(8, "little") + data[8:]


#: By name: what may become of a file.
KINDS: dict[str, Callable[[bytes], Bytes]] = {
    "empty": lambda data: st.just(b""),
    "cut": _cut,
    "flips in the head": _flips(0, 400),
    "flips": _flips(0, 0),
    "flips in the tail": _flips(-400, 0),
    "zeros": _zeros,
    "moved": _moved,
    "length": _length,
    "another file": lambda data: st.sampled_from(sorted(OTHERS.values())),
    "noise": lambda data: st.binary(max_size=60),
}


def damaged(data: bytes, *kinds: str) -> Bytes:
    """A file that is damaged, or may be.

    Args:
        data: Content of a file that is right.
        *kinds: Names of :data:`KINDS`; all of them by default.
    """
    return st.one_of([KINDS[kind](data) for kind in kinds or KINDS])


class Runs:
    """Makes a file when it is unpickled by a reader that runs code."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


def _endless() -> Any:
    content: dict[str, Any] = {}
    content["model"] = content
    return content


def _in_itself() -> Any:
    content: list[Any] = []
    content.append(content)
    return content


def _nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


#: Values that stand where a file has tensors, or around them.
ODD_VALUES: dict[str, Callable[[], Any]] = {
    **{repr(value): lambda value=value: value for value in (None, 7, "a", b"a", [], {}, (1,))},
    "in itself": _in_itself,
    "endless": _endless,
    "nested": lambda: _nested(300),
    "dictionary of numbers": lambda: {1: 2, None: torch.ones(1)},
}


def odd_tensors(like: torch.Tensor) -> dict[str, Callable[[], torch.Tensor]]:
    """By name: tensors that may stand where a right one belongs."""
    floats = like.float()
    return {
        "none": lambda: torch.zeros(0),
        "number": lambda: torch.zeros(()),
        "row": lambda: torch.zeros(3),
        "a row more": lambda: torch.cat([like[:1], like]) if like.dim() else torch.zeros(2),
        "one axis more": lambda: like[None],
        "one axis less": lambda: like[0] if len(like.shape) and len(like) else torch.zeros(2, 2),
        "NaN": lambda: torch.full_like(floats, float("nan")),
        "infinite": lambda: torch.full_like(floats, float("inf")),
        "integers": lambda: floats.to(torch.int64),
        "truth": lambda: floats > 0,
        "complex": lambda: floats.to(torch.complex64),
        "half": lambda: floats.half(),
        "bytes": lambda: floats.to(torch.uint8),
        "eight bits": lambda: floats.to(torch.float8_e4m3fn),
        "sparse": lambda: floats.to_sparse(),
        "quantized": lambda: torch.quantize_per_tensor(floats, 0.1, 0, torch.qint8),
        "no memory": lambda: torch.empty_like(floats, device="meta"),
    }


@st.composite
def odd_states(draw: st.DrawFn, state: Mapping[str, torch.Tensor], plain: bool = False) -> Any:
    """A state dict with something wrong in it, or around it.

    Args:
        draw: Hypothesis' own.
        state: The right one.
        plain: Tensors alone, of kinds that safetensors takes, under names that are texts.
    """
    content: dict[Any, Any] = dict(state)
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(sorted(state)))
        way = draw(st.sampled_from(["tensor", "tensor", "tensor", "drop", "name", "value"]))
        content.pop(name, None)
        if way == "tensor":
            left = ("sparse", "quantized", "no memory") if plain else ()
            made = odd_tensors(state[name])
            content[name] = made[draw(st.sampled_from([k for k in made if k not in left]))]()
        elif way == "name":
            names = ["", ".", name[:-1], f"{name}.0", "é", "\0", "adapter.", "model", name.upper()]
            content[draw(st.sampled_from(names))] = state[name]
        elif way == "value" and not plain:
            content[name] = ODD_VALUES[draw(st.sampled_from(sorted(ODD_VALUES)))]()
    around = draw(st.sampled_from(["none", "none", "model", "value"]))
    if plain:
        # safetensors refuses tensors that share their memory.
        return {name: tensor.clone() for name, tensor in content.items()}
    if around == "none":
        return content
    if around == "model":
        return {"model": content, "epoch": 3, "lr": ODD_VALUES["in itself"]()}
    return ODD_VALUES[draw(st.sampled_from(sorted(ODD_VALUES)))]()
