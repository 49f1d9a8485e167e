"""Visual tokens of a gallery on disk instead of in main memory."""

from __future__ import annotations

import ctypes
import errno
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, overload

import torch
from torch import Tensor

from uniadapter.utils.errors import WriteError
from uniadapter.utils.tensors import as_bytes

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DiskTokens(Sequence[Tensor]):
    """Tensors of one shape and dtype in a file; one is read whenever it is asked for.

    The file has no name: however the process ends, the system takes its space back. It is read
    and written without being mapped, so what is not being looked at takes no memory of the
    process.

    Args:
        folder: Folder on the disk to use; created when it is missing.
        capacity: Most tensors there will be. Their space is taken when the first one comes.
        option: Name of the option that chose the folder, for messages.

    Raises:
        WriteError: When the folder can't be written to.
    """

    def __init__(self, folder: str, capacity: int, option: str) -> None:
        self.folder, self.capacity, self.option = folder, capacity, option
        try:
            os.makedirs(folder, exist_ok=True)
            # Open for as long as the object is in use.
            self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        except OSError as error:
            refused = WriteError(
                f"{option} = {folder!r} can't be written to: {error.strerror}. Name a folder for "
                "temporary files that can."
            )
            refused.errno = error.errno
            raise refused from error
        self._shape: torch.Size = torch.Size()
        self._dtype: torch.dtype = torch.float32
        self._places: list[int] = []

    @property
    def item_bytes(self) -> int:
        """Space of one tensor, 0 before there is one."""
        return math.prod(self._shape) * self._dtype.itemsize if self._places else 0

    @property
    def nbytes(self) -> int:
        """Space of all tensors."""
        return len(self) * self.item_bytes

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...

    @overload
    def __getitem__(self, index: slice) -> DiskTokens: ...

    def __getitem__(self, index: int | slice) -> Tensor | DiskTokens:
        """Read one tensor; a slice is read when its tensors are."""
        if isinstance(index, slice):
            return self.select(range(len(self))[index])
        tensor = torch.empty(self._shape, dtype=self._dtype)
        self._file.seek(self._places[index] * self.item_bytes)
        found = self._file.readinto(as_bytes(tensor).numpy().data)  # type: ignore[attr-defined]
        if found != self.item_bytes:
            raise OSError(f"{self.option} = {self.folder!r}: the file of tokens was cut short.")
        return tensor

    def select(self, rows: Iterable[int]) -> DiskTokens:
        """The same tensors in another order, or some of them, in the same file."""
        part = object.__new__(DiskTokens)
        part.__dict__.update(self.__dict__, _places=[self._places[row] for row in rows])
        return part

    def extend(self, tensors: Iterable[Tensor]) -> None:
        """Append tensors.

        Raises:
            OSError: When the disk has no room for as many as there will be.
            ValueError: When one has another shape or dtype, or there are more than were announced.
        """
        for tensor in tensors:
            if not self._places:
                self._shape, self._dtype = tensor.shape, tensor.dtype
                self._reserve(tensor.nbytes * self.capacity)
            elif (tensor.shape, tensor.dtype) != (self._shape, self._dtype):
                raise ValueError(
                    f"{self.option}: visual tokens on disk have one shape and dtype, "
                    f"{tuple(self._shape)} and {self._dtype}; here come {tuple(tensor.shape)} and "
                    f"{tensor.dtype}. Leave the option out."
                )
            if len(self) == self.capacity:
                raise ValueError(f"{self.option}: more than the announced {self.capacity} media.")
            self._file.seek(len(self) * tensor.nbytes)
            self._file.write(as_bytes(tensor).numpy().data)
            self._places.append(len(self))

    def _reserve(self, size: int) -> None:
        """Take the space at once: a full disk is found before hours of encoding, not after."""
        free = shutil.disk_usage(self.folder).free
        try:
            if size > free:
                raise OSError(errno.ENOSPC, "No space left on device")
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._file.fileno(), 0, max(size, 1))
        except OSError as error:
            # Some file systems can't promise space; there the first look has to do.
            if error.errno not in _FULL:
                return
            raise OSError(
                error.errno,
                f"{self.option} = {self.folder!r}: the visual tokens of this rank's "
                f"{self.capacity} media take {size / 2**30:.2f} GiB, and {free / 2**30:.2f} GiB "
                "are free there. Choose another folder, or gallery_dtype='float16'.",
            ) from error

    def close(self) -> None:
        """Give the space back; nothing can be read any more."""
        self._file.close()


@contextmanager
def token_store(
    folder: str | None, capacity: int, option: str
) -> Iterator[list[Tensor] | DiskTokens]:
    """Where visual tokens are kept: a list, or :class:`DiskTokens` that are closed at the end."""
    if folder is None:
        yield []
        return
    store = DiskTokens(folder, capacity, option)
    try:
        yield store
    finally:
        store.close()


def select(tokens: list[Tensor] | DiskTokens, rows: Iterable[int]) -> list[Tensor] | DiskTokens:
    """Some of the tokens, in the order of ``rows``, without reading any."""
    if isinstance(tokens, DiskTokens):
        return tokens.select(rows)
    return [tokens[row] for row in rows]


def trim_freed_memory() -> None:
    """Have glibc give freed memory back to the system.

    Features that stay lie between batches of tokens that were freed, and keep the next batch out
    of their place: the process would grow by up to twice the gallery.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
