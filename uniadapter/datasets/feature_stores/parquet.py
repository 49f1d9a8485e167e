"""Features in Parquet shards, read by name without unpacking them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from mmengine.logging import print_log

from .base import EXTRACT, KEY, FeatureStore, damaged, import_library

ID = "id"
SUFFIX = ".parquet"
# So many rows are decoded at once on the way to the wanted one.
_STEP = 8
_BUFFER = 2**20
# Above so many rows a group, most of the time goes to rows that nobody asked for.
_MANY_ROWS = 64


class ParquetFeatures(FeatureStore):
    """Shards ``*.parquet`` with the columns ``id`` and ``features``, N lists of D numbers.

    The names of all shards are read once, and where each stands: its shard, its row group and its
    row there. A read opens the shard and decodes its row group up to the row: shards of small row
    groups, as ``extract_clip_grids.py`` writes them, are fast in any order.

    Args:
        root: Folder of the shards.
        shape: See the base class.

    Raises:
        FileNotFoundError: If there is no such folder, or no shard in it.
        ImportError: If pyarrow is not installed.
        ValueError: If a shard is damaged or lacks a column, or a name stands twice in the shards.
    """

    def __init__(self, root: str, shape: Sequence[int | None]) -> None:
        super().__init__(root, shape)
        self._shards = sorted(name for name in os.listdir(root) if name.endswith(SUFFIX))
        if not self._shards:
            raise FileNotFoundError(
                f"features.root = {root!r} has no shard *{SUFFIX}: correct it, copy the shards "
                f"there, or {EXTRACT}."
            )
        names: list[bytes] = []
        places: list[tuple[int, int, int]] = []
        groups = 0
        for number, shard in enumerate(self._shards):
            for group, ids in enumerate(read_names(os.path.join(root, shard))):
                names += ids
                places += [(number, group, row) for row in range(len(ids))]
                groups += 1
        # One array each, which forked workers share: objects would be copied as they are counted.
        order = np.argsort(np.array(names, dtype=bytes), kind="stable")
        self._names = np.array(names, dtype=bytes)[order]
        self._places = np.array(places, dtype=np.int32).reshape(-1, 3)[order]
        self._refuse_repeats()
        if groups and len(names) > _MANY_ROWS * groups:
            print_log(
                f"{root}: the shards have {len(names) // groups} rows a row group, most of which "
                "are decoded for each one that is read. tools/dataset_converters/"
                "convert_features.py writes them with smaller groups.",
                "current",
                logging.WARNING,
            )

    def _refuse_repeats(self) -> None:
        again = np.flatnonzero(self._names[1:] == self._names[:-1])
        if len(again):
            first, second = (self._shards[self._places[again[0] + k][0]] for k in (0, 1))
            raise ValueError(
                f"{self.root}: id {self._names[again[0]].decode()!r} stands in {first} and again "
                f"in {second}; remove one of them."
            )

    def _find(self, name: str) -> int | None:
        """Place of a name in the sorted names."""
        wanted = name.encode()
        found = int(np.searchsorted(self._names, wanted))
        return found if found < len(self._names) and self._names[found] == wanted else None

    def names(self) -> list[str]:
        """Return all names there are, sorted."""
        return [name.decode() for name in self._names.tolist()]

    def missing(self, names: Iterable[str]) -> list[str]:
        """Return the names that no shard has."""
        return [name for name in names if self._find(name) is None]

    def place(self, name: str) -> str:
        """Return the shard of a name, or all of them."""
        found = self._find(name)
        shard = f"*{SUFFIX}" if found is None else self._shards[self._places[found][0]]
        return os.path.join(self.root, shard)

    def load(self, name: str) -> np.ndarray:
        """See :meth:`FeatureStore.load`."""
        path, found = self.place(name), self._find(name)
        if found is None:
            raise FileNotFoundError(f"{path}: no shard has {name!r}: {EXTRACT}.")
        if not os.path.isfile(path):
            raise FileNotFoundError(f"{path} is gone: copy it there again, or {EXTRACT}.")
        _, group, row = (int(number) for number in self._places[found])
        try:
            return _as_matrix(_row_of(path, group, row))
        # Damaged shards fail in many unrelated ways.
        except Exception as error:
            raise damaged(path, error) from error


def _open(path: str) -> Any:
    parquet = import_library("pyarrow.parquet", "Parquet shards")
    # A buffer, as otherwise all of a row group is read for its first row.
    return parquet.ParquetFile(path, buffer_size=_BUFFER)


def read_names(path: str) -> Iterator[list[bytes]]:
    """Read the names in a shard.

    Args:
        path: The shard.

    Yields:
        Those of each row group, in UTF-8.

    Raises:
        ImportError: If pyarrow is not installed.
        ValueError: If the shard is damaged or lacks a column.
    """
    try:
        with _open(path) as file:
            columns = file.schema_arrow.names
            absent = [column for column in (ID, KEY) if column not in columns]
            if absent:
                raise KeyError(f"column {absent[0]!r} is missing, there are {columns}")
            # All at once: a call for each group is slow where groups are small.
            column = file.read(columns=[ID], use_threads=False).column(ID)
            ids = [_encoded(name) for name in column.to_pylist()]
            sizes = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
            ends = np.cumsum([0, *sizes]).tolist()
            found = [ids[start:end] for start, end in pairwise(ends)]
    except ImportError:
        raise
    # As above.
    except Exception as error:
        raise damaged(path, error) from error
    yield from found


def _encoded(name: Any) -> bytes:
    if not isinstance(name, str):
        raise TypeError(f"{ID!r} must be a text, got {name!r}")
    return name.encode()


def _row_of(path: str, group: int, row: int) -> Any:
    """The features of one row, an array of one list of lists."""
    with _open(path) as file:
        batches = file.iter_batches(_STEP, row_groups=[group], columns=[KEY], use_threads=False)
        for batch in batches:
            if row < batch.num_rows:
                return batch.column(0).slice(row, 1)
            row -= batch.num_rows
    raise ValueError(f"row group {group} is shorter than it was")


def _as_matrix(nested: Any) -> np.ndarray:
    """(N, D) of an array of one list of N lists of D numbers."""
    lists = nested.flatten()
    widths = set(lists.value_lengths().to_pylist())
    if len(widths) > 1:
        raise ValueError(f"its lists are of lengths {sorted(widths)}")
    numbers = lists.flatten().to_numpy(zero_copy_only=False)
    return numbers.reshape(len(lists), *widths)
