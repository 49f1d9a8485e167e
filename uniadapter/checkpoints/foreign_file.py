"""Weights of other projects' files, of which nothing but tensors and plain containers is built."""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from uniadapter.utils.safe_io import damaged, what_it_is


class LeftOut(list):
    """Stands where a file has an object that only its own code could build; it holds nothing.

    A list, because the reader appends to nothing else. Each name in a file gets a subclass of that
    name.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make one of whatever arguments the object would have been built from."""
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        """Take no state."""

    def append(self, item: object) -> None:
        """Take no item."""

    def extend(self, items: object) -> None:
        """Take no items."""

    __hash__ = object.__hash__  # type: ignore[assignment]


class _Items(LeftOut):
    """The same for a class of dictionaries: its items are read as those of a dictionary."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return OrderedDict()


def left_out(value: Any) -> list[str]:
    """Names of the classes and functions that a value would have needed, sorted.

    Args:
        value (Any): What :func:`load_foreign_file` returned, or a part of it.
    """
    found, waiting, seen = set(), [value], set[int]()
    # Not by calling itself: containers of a file may hold one another on any number of levels, and
    # themselves.
    while waiting:
        item = waiting.pop()
        kind = item if isinstance(item, type) else type(item)
        if issubclass(kind, LeftOut):
            found.add(f"{kind.__module__}.{kind.__qualname__}")
        elif isinstance(item, dict | list | tuple | set | frozenset) and id(item) not in seen:
            seen.add(id(item))
            waiting += [*item.keys(), *item.values()] if isinstance(item, dict) else item
    return sorted(found)


def load_foreign_file(path: str | Path) -> Any:
    """Read a file of ``torch.save`` that may hold objects besides tensors, running no code of its.

    ``torch.load(weights_only=True)`` reads it. Every name that it would refuse
    (``argparse.Namespace``, numpy's and OmegaConf's classes, any function) means :class:`LeftOut`
    meanwhile, so that what bears the name is neither imported nor called.

    Args:
        path (str | Path): The file.

    Returns:
        Any: What was saved, on the CPU, with :class:`LeftOut` in the place of such objects.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is no file of ``torch.save``, is damaged, or can't be read even so; the
            error says which.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Checkpoint {path} does not exist.")
    what = what_it_is(path)
    if what is not None:
        raise ValueError(f"Checkpoint {path} {what}.")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch 2.4 can't be told of other names.
        if not hasattr(torch.serialization, "safe_globals"):
            raise damaged(path, error) from error
    except Exception as error:
        # Random bytes make the readers fail in any way, with an IndexError for one.
        raise damaged(path, error) from error
    try:
        return _load_the_rest(path)
    except Exception as error:
        raise damaged(path, error) from error


def _load_the_rest(path: Path) -> Any:
    kinds = {name: _kind(name, LeftOut) for name in _names_in(path)}
    while True:
        try:
            with torch.serialization.safe_globals(list(kinds.values())):
                return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            # The reader names the object that is given items and may not have any.
            said = str(error)
            given = [
                n for n, kind in kinds.items() if f"'{n}'" in said and kind.__base__ is LeftOut
            ]
            if not given:
                raise
            kinds.update({name: _kind(name, _Items) for name in given})


def _kind(name: str, base: type) -> type:
    """A class that the reader takes for what bears the name."""
    module, _, own = name.rpartition(".")
    return type(own, (base,), {"__module__": module, "__qualname__": own})


def _names_in(path: Path) -> list[str]:
    """All classes and functions that a file names."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            record = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            return _globals_of(io.BytesIO(archive.read(record)), 1)
    with path.open("rb") as file:
        # Before torch 1.6: a number, a version and facts of the system come before the content.
        return _globals_of(file, 4)


def _globals_of(file: Any, pickles: int) -> list[str]:
    names = []
    for _ in range(pickles):
        for operation, argument, _ in pickletools.genops(file):
            if operation.name == "GLOBAL":
                module, name = str(argument).split(" ", 1)
                module, name = NAME_MAPPING.get((module, name), (module, name))
                names.append(f"{IMPORT_MAPPING.get(module, module)}.{name}")
    return list(dict.fromkeys(names))
