"""Features in one file a picture or video: HDF5 and NPZ."""

from __future__ import annotations

from typing import Any

import numpy as np

from .base import KEY, FileStore, damaged, import_library


class NpzFeatures(FileStore):
    """Files ``{name}.npz`` with an array ``features`` each; pickled objects are refused."""

    suffix = ".npz"

    def load_file(self, path: str, name: str) -> np.ndarray:
        """See :meth:`FileStore.load_file`."""
        try:
            content: Any = np.load(path, allow_pickle=False)
            # A single array, as in NPY files, has no names.
            names = list(getattr(content, "files", ()))
            if KEY in names:
                with content:
                    return content[KEY]
        # Damaged archives fail in many unrelated ways.
        except Exception as error:
            raise damaged(path, error) from error
        raise damaged(path, f"it has no array {KEY!r}, but {names}")


class Hdf5Features(FileStore):
    """Files ``{name}.h5``, in each a group of that name with a data set ``features``."""

    suffix = ".h5"

    def load_file(self, path: str, name: str) -> np.ndarray:
        """See :meth:`FileStore.load_file`."""
        h5py = import_library("h5py", "HDF5 features")
        names: list[str] = []
        try:
            # Nobody writes the file, and not every network file system can lock one.
            with h5py.File(path, "r", locking=False) as file:
                found = file.get(f"{name}/{KEY}")
                if isinstance(found, h5py.Dataset):
                    return np.asarray(found[()])
                file.visit(names.append)
        # As above.
        except Exception as error:
            raise damaged(path, error) from error
        raise damaged(path, f"it has no data set '{name}/{KEY}', but {names[:4]}")
