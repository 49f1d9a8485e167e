"""Weights of TorchScript archives, whose program is neither run nor compiled.

``torch.jit.load`` compiles an archive's program and runs the parts of it that restore objects. Here
the archive's pickle is read by an unpickler that builds tensors and plain containers alone; of the
program only the lists of parameters and buffers are read, as text.
"""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from .foreign_file import LeftOut

_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
# No model's modules lie in one another on as many levels.
_DEEPEST = 64
_LISTS = "[^]]*"
_CLASS = re.compile(
    rf"^class (\w+)\(Module\):\n  __parameters__ = \[({_LISTS})\]\n  __buffers__ = \[({_LISTS})\]",
    re.MULTILINE,
)


class _Module:
    """Stands for a module of the program: its attributes, as they were saved."""

    kind = ""

    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.attributes = dict(state) if isinstance(state, dict) else {}


def _rebuild_tensor(
    storage: torch.Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> torch.Tensor:
    return storage.as_strided(size, stride, offset).clone(memory_format=torch.contiguous_format)


def _first(value: Any, *_: Any) -> Any:
    return value


class _Unpickler(pickle.Unpickler):
    """Builds tensors, plain containers and :class:`_Module`; every other name means nothing."""

    def __init__(self, content: bytes, storage: Callable[[str], bytes]) -> None:
        super().__init__(io.BytesIO(content))
        self._storage = storage
        self._tensors: dict[str, torch.Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        """What a name of the file stands for; nothing is imported."""
        known: dict[str, Any] = {
            "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
            "torch._utils._rebuild_parameter": _first,
            "torch.jit._pickle.restore_type_tag": _first,
            "collections.OrderedDict": OrderedDict,
        }
        full = f"{module}.{name}"
        if full in known:
            return known[full]
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if module == "torch.jit._pickle" and name.startswith("build_"):
            return _first
        base = _Module if module.split(".")[0] == "__torch__" else LeftOut
        return type(name, (base,), {"kind": full})

    def persistent_load(self, pid: Any) -> torch.Tensor:
        """The numbers of a storage, as one row."""
        _, dtype, key, _, _ = pid
        if key not in self._tensors:
            data = bytearray(self._storage(str(key)))
            row = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
            self._tensors[key] = row
        return self._tensors[key]


def _declared(archive: zipfile.ZipFile, root: str) -> dict[str, set[str]]:
    """Names of parameters and buffers by class, as the program's text declares them."""
    found: dict[str, set[str]] = {}
    start = f"{root}code/"
    for path in archive.namelist():
        if path.startswith(start) and path.endswith(".py"):
            module = path.removeprefix(start).removesuffix(".py").replace("/", ".")
            for name, *lists in _CLASS.findall(archive.read(path).decode("utf-8", "replace")):
                found[f"{module}.{name}"] = set(re.findall(r'"([^"]*)"', " ".join(lists)))
    return found


def _tensors(
    module: _Module, declared: dict[str, set[str]], prefix: str = "", level: int = 0
) -> Iterator[tuple[str, torch.Tensor]]:
    if level > _DEEPEST:
        raise ValueError("a module of it lies in itself")
    names = declared.get(module.kind)
    for name, value in module.attributes.items():
        if isinstance(value, _Module):
            yield from _tensors(value, declared, f"{prefix}{name}.", level + 1)
        elif isinstance(value, torch.Tensor) and (names is None or name in names):
            yield f"{prefix}{name}", value


def read_torchscript(path: str | Path) -> dict[str, torch.Tensor]:
    """Read the state dict of the module in a TorchScript archive, running nothing of it.

    Args:
        path (str | Path): The archive.

    Returns:
        dict[str, Tensor]: Parameters and buffers by name, on the CPU.

    Raises:
        ValueError: If it is damaged, or holds no module with tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            record = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            root = record.removesuffix("data.pkl")
            content = archive.read(record)
            module = _Unpickler(content, lambda key: archive.read(f"{root}data/{key}")).load()
            declared = _declared(archive, root)
            tensors = dict(_tensors(module, declared)) if isinstance(module, _Module) else {}
    except Exception as error:  # Damaged archives make the reader fail in many ways.
        raise ValueError(f"{path} is damaged ({error}): copy it again.") from error
    if not tensors:
        raise ValueError(f"{path} is a TorchScript archive without a tensor in its module.")
    return tensors
