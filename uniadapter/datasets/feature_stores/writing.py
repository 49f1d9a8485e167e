"""Writing features as the readers beside this module read them, files whole or not at all."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence

import numpy as np

from ...utils.errors import WriteError
from ...utils.safe_io import atomic_write
from .base import KEY, import_library
from .parquet import ID, SUFFIX, read_names

#: Rows of a row group: all of a group in front of a row are decoded with it.
GROUP_ROWS = 1


def npz_bytes(features: np.ndarray) -> bytes:
    """Return the content of an NPZ file.

    Args:
        features: (N, D).
    """
    content = io.BytesIO()
    np.savez(content, features=features)
    return content.getvalue()


def hdf5_bytes(name: str, features: np.ndarray) -> bytes:
    """Return the content of an HDF5 file.

    Args:
        name: Identifier of the picture or video.
        features: (N, D).

    Raises:
        ImportError: If h5py is not installed.
    """
    h5py = import_library("h5py", "HDF5 features")
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.create_dataset(f"{name}/{KEY}", data=features)
    return content.getvalue()


def parquet_bytes(features: Mapping[str, np.ndarray]) -> bytes:
    """Return the content of a Parquet shard, in row groups of :data:`GROUP_ROWS`.

    Args:
        features: (N, D) by identifier; N may differ where D is the same.

    Raises:
        ImportError: If pyarrow is not installed.
        ValueError: If they are no matrices, or of different widths.
    """
    arrow = import_library("pyarrow", "Parquet shards")
    parquet = import_library("pyarrow.parquet", "Parquet shards")
    _refuse_unlike(features)
    arrays = list(features.values()) or [np.zeros((0, 1), np.float16)]
    lengths = [len(array) for array in features.values()]
    numbers = arrow.array(np.concatenate(arrays).ravel())
    lists = arrow.FixedSizeListArray.from_arrays(numbers, arrays[0].shape[1])
    if len(set(lengths)) == 1:
        nested = arrow.FixedSizeListArray.from_arrays(lists, lengths[0])
    else:
        ends = arrow.array(np.cumsum([0, *lengths]).astype(np.int32))
        nested = arrow.ListArray.from_arrays(ends, lists)
    table = arrow.table({ID: arrow.array(list(features), arrow.string()), KEY: nested})
    content = io.BytesIO()
    options = {"compression": "zstd", "use_dictionary": False, "row_group_size": GROUP_ROWS}
    parquet.write_table(table, content, **options)
    return content.getvalue()


def _refuse_unlike(features: Mapping[str, np.ndarray]) -> None:
    """See that one column can hold them."""
    first = ""
    for name, array in features.items():
        if array.ndim != 2:
            raise ValueError(
                f"features of {name!r} have shape {array.shape}, expected (N, D): extract them "
                "anew."
            )
        first = first or name
        widths = (array.shape[1], features[first].shape[1])
        if widths[0] != widths[1]:
            raise ValueError(
                f"features of {name!r} are {widths[0]} numbers wide, those of {first!r} "
                f"{widths[1]}: a shard has one width, extract them alike."
            )


class FeatureWriter:
    """Writes the features of shards: a file a name, or a Parquet file a shard.

    A file appears under its name only when it is whole, and what is there is left alone, so that a
    run that was interrupted can be repeated.

    Args:
        root: Folder, which is created.
        kind: A key of :data:`~uniadapter.datasets.feature_stores.STORES`.

    Raises:
        ImportError: If the library of this kind is not installed.
        ValueError: If there is no such kind.
        WriteError: If the folder can't be made.
    """

    SUFFIXES = {"hdf5": ".h5", "npz": ".npz", "parquet": SUFFIX}
    _LIBRARIES = {"hdf5": "h5py", "parquet": "pyarrow"}

    def __init__(self, root: str, kind: str) -> None:
        if kind not in self.SUFFIXES:
            raise ValueError(f"kind={kind!r} is unknown: choose from {list(self.SUFFIXES)}.")
        if kind in self._LIBRARIES:
            import_library(self._LIBRARIES[kind], f"{kind} features")
        try:
            os.makedirs(root, exist_ok=True)
        except OSError as error:
            raise WriteError(root, error) from error
        self.root, self.kind = root, kind

    def _path(self, name: str) -> str:
        return os.path.join(self.root, name + self.SUFFIXES[self.kind])

    def left(self, shard: str, names: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return what is to be done of a shard.

        Args:
            shard: Its name.
            names: Those of all of its pictures or videos.

        Returns:
            The names that have to be written; and those that a Parquet file, which is not written
            twice, lacks.
        """
        if self.kind != "parquet":
            return [name for name in names if not os.path.isfile(self._path(name))], []
        if not os.path.isfile(self._path(shard)):
            return list(names), []
        there = {name for group in read_names(self._path(shard)) for name in group}
        return [], [name for name in names if name.encode() not in there]

    def write(self, shard: str, features: Mapping[str, np.ndarray]) -> None:
        """Write the features of a shard.

        Args:
            shard: Its name.
            features: (N, D) by identifier.
        """
        if self.kind == "parquet":
            atomic_write(self._path(shard), parquet_bytes(features))
            return
        for name, array in features.items():
            content = npz_bytes(array) if self.kind == "npz" else hdf5_bytes(name, array)
            # A damaged file is found when it is read, and waiting for the disk each time is slow.
            atomic_write(self._path(name), content, sync=False)
