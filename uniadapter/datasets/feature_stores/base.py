"""The interface of all readers of features that were computed beforehand."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any

import numpy as np

#: Under what name a file has its features.
KEY = "features"
#: What to do about features that are not there.
EXTRACT = (
    "extract them with tools/dataset_converters/extract_clip_grids.py (pictures) or "
    "extract_clip_frames.py (videos)"
)


def import_library(name: str, what: str) -> Any:
    """Import an optional library when the first file is read with it.

    Args:
        name: Such as ``'h5py'``.
        what: What it reads, for the error.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(
            f"{what} are read by {name.split('.')[0]}, which is not installed: pip install "
            f"{name.split('.')[0]}, or keep features as NPZ files (type='npz'), which need no "
            "further package."
        ) from error


class FeatureStore(ABC):
    """Features of pictures or videos by name, from a folder on disk.

    Nothing stays open between two reads, so a store may be used in forked and spawned workers.

    Args:
        root: The folder.
        shape: (N, D) of the features of one name; None stands for any number, such as
            ``(None, 512)`` for videos of uneven length.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If ``shape`` is no pair of positive numbers.
    """

    def __init__(self, root: str, shape: Sequence[int | None]) -> None:
        good = isinstance(shape, list | tuple) and len(shape) == 2
        if not good or any(n is not None and (type(n) is not int or n < 1) for n in shape):
            raise ValueError(
                f"features.shape={shape!r} must be (N, D), positive numbers, or None where any "
                "number will do, such as (49, 2048) or (None, 512)."
            )
        if not os.path.isdir(root):
            raise FileNotFoundError(
                f"features.root = {root!r} is not a folder. Put the features there or correct "
                "data_root / features.root; docs/dataset_preparation.md shows the layout."
            )
        self.root, self.shape = root, tuple(shape)

    @abstractmethod
    def names(self) -> list[str]:
        """Return all names there are, sorted."""

    @abstractmethod
    def missing(self, names: Iterable[str]) -> list[str]:
        """Return those of some names that have no features."""

    @abstractmethod
    def place(self, name: str) -> str:
        """Return the file that has the features of a name, for messages."""

    @abstractmethod
    def load(self, name: str) -> np.ndarray:
        """Read the features of a name as they are stored.

        Raises:
            FileNotFoundError: If there are none.
            ValueError: If they can't be read.
        """

    def read(self, name: str) -> np.ndarray:
        """Read the features of a name.

        Args:
            name: Identifier of the picture or the video.

        Returns:
            (N, D) float32.

        Raises:
            FileNotFoundError: If there are none.
            ValueError: If they can't be read, have another shape, are no floating-point numbers,
                or are not all finite.
        """
        stored = self.load(name)
        place = f"{self.place(name)}: {KEY!r} of {name!r}"
        wanted = tuple("any" if n is None else n for n in self.shape)
        pairs = list(zip(stored.shape, self.shape, strict=False))
        fits = stored.ndim == 2 and all(have and want in (None, have) for have, want in pairs)
        if not fits:
            raise ValueError(
                f"{place} has shape {stored.shape}, expected {wanted}: correct features.shape, "
                "name the folder of the right features, or extract them anew."
            )
        if not np.issubdtype(stored.dtype, np.floating):
            raise ValueError(
                f"{place} is of type {stored.dtype}, expected floating-point numbers: extract it "
                "anew."
            )
        found = np.ascontiguousarray(stored, dtype=np.float32)
        if not np.isfinite(found).all():
            raise ValueError(f"{place} holds numbers that are not finite: extract it anew.")
        return found

    def require(self, names: Iterable[str], where: str) -> None:
        """See that there are features of all names, before a run meets one that is missing.

        Args:
            names: Identifiers, repeats allowed.
            where: The annotation file that names them, for the error.

        Raises:
            FileNotFoundError: If some are missing.
        """
        wanted = list(dict.fromkeys(names))
        missing = self.missing(wanted)
        if missing:
            raise FileNotFoundError(
                f"{self.place(missing[0])}: no features of {missing[0]!r}, which {where} names; "
                f"{len(missing)} of its {len(wanted)} pictures or videos have none under "
                f"{self.root}: copy them there, or {EXTRACT}."
            )


class FileStore(FeatureStore):
    """One file a name."""

    #: Extension of the files.
    suffix = ""

    def place(self, name: str) -> str:
        """Return the file of a name."""
        return os.path.join(self.root, name + self.suffix)

    def names(self) -> list[str]:
        """Return the names of all files in the folder, sorted."""
        there = os.listdir(self.root)
        return sorted(n.removesuffix(self.suffix) for n in there if n.endswith(self.suffix))

    def missing(self, names: Iterable[str]) -> list[str]:
        """Return the names without a file; the folder is listed once."""
        there = set(os.listdir(self.root))
        absent = [name for name in names if name + self.suffix not in there]
        # Names with folders in them are not in the list.
        return [name for name in absent if not os.path.isfile(self.place(name))]

    def load(self, name: str) -> np.ndarray:
        """See :meth:`FeatureStore.load`."""
        path = self.place(name)
        if not os.path.isfile(path):
            raise FileNotFoundError(f"{path} does not exist: copy it there, or {EXTRACT}.")
        return self.load_file(path, name)

    @abstractmethod
    def load_file(self, path: str, name: str) -> np.ndarray:
        """Read the features of a name from its file, which exists."""


def damaged(path: str, reason: object) -> ValueError:
    """Return the error for a file that can't be read.

    Args:
        path: The file.
        reason: Why.
    """
    first = (str(reason).splitlines() or [type(reason).__name__])[0]
    return ValueError(f"{path}: damaged or of another kind ({first}); copy it again, or {EXTRACT}.")
