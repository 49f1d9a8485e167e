"""The files of an index: rows of numbers that are only appended to, and the lock of who writes."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch

from uniadapter.utils.errors import WriteError
from uniadapter.utils.locks import lock_file

from .engine import EncodedMedia

logger = logging.getLogger("uniadapter.search")

LOCK = "lock"
_LOCK_SECONDS = 2.0


@dataclass(frozen=True)
class Layout:
    """What a row of each file of numbers is; row i of all of them is of one shot.

    Attributes:
        feature_size: E.
        frames: N, the most frames of a shot.
        token_shape: (M, D) of a frame's tokens; None where none are kept.
    """

    feature_size: int
    frames: int
    token_shape: tuple[int, int] | None

    @property
    def cls_size(self) -> int:
        """D of the states of the frames' first tokens, 0 where they are not kept."""
        return 0 if self.token_shape is None else self.token_shape[1]

    def files(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """Shape and dtype of the rows of each file by its name."""
        # Of each frame its time, its features and the state of its first token.
        width = 1 + self.feature_size + self.cls_size
        found: dict[str, tuple[tuple[int, ...], np.dtype]] = {
            "features": ((self.feature_size,), np.dtype("<f4")),
            "frames": ((self.frames, width), np.dtype("<f4")),
        }
        if self.token_shape is not None:
            found["tokens"] = ((self.frames, *self.token_shape), np.dtype("<f2"))
        return found

    def row_bytes(self) -> int:
        """Space of a shot."""
        return sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in self.files().values())

    def rows_of(
        self, media: EncodedMedia, times: Sequence[Sequence[float]]
    ) -> dict[str, np.ndarray]:
        """Rows of B shots.

        Args:
            media: What is known of them.
            times: Times of the frames of each, in seconds from the shot's start; what a batch has
                beyond them is padding.

        Returns:
            For each file (B, ...) of its rows.

        Raises:
            ValueError: If numbers are not finite, or there are more frames than N.
        """
        count, width = len(media), 1 + self.feature_size + self.cls_size
        # A frame that is none has no time.
        frames = np.full((count, self.frames, width), np.nan, np.float32)
        parts = [media.frame_features] + ([media.frame_cls] if self.cls_size else [])
        known = torch.cat(parts, dim=-1).float().numpy()
        for row, own in enumerate(times):
            if len(own) > self.frames:
                raise ValueError(
                    f"a shot has {len(own)} frames, and the model at most {self.frames}"
                )
            frames[row, : len(own), 0] = own
            frames[row, : len(own), 1:] = known[row, : len(own)]
        rows = {"features": media.features.float().numpy(), "frames": frames}
        checked = [rows["features"], known]
        if self.token_shape is not None:
            if media.tokens is None:
                raise ValueError("these shots come without the tokens that the index keeps")
            rows["tokens"] = media.tokens.half().numpy()
            checked.append(rows["tokens"])
        if not all(np.isfinite(numbers).all() for numbers in checked):
            raise ValueError(
                "numbers of the model are not finite (tokens are kept in half precision): look for "
                "a diverged checkpoint, or keep no tokens (--no-tokens)"
            )
        return rows

    def media_of(
        self, maps: Mapping[str, np.ndarray], rows: np.ndarray, tokens: bool = True
    ) -> EncodedMedia:
        """What is known of shots, by their rows (B,), in memory; padding is 0.

        Args:
            maps: The rows of each file.
            rows: Which of them.
            tokens: Whether tokens are read where there are some.
        """
        frames = np.nan_to_num(np.asarray(maps["frames"][rows]))
        cut = 1 + self.feature_size
        read = None
        if tokens and self.token_shape is not None:
            read = torch.from_numpy(np.array(maps["tokens"][rows]))
        return EncodedMedia(
            torch.from_numpy(np.array(maps["features"][rows])),
            read,
            torch.from_numpy(frames[:, :, cut:]),
            torch.from_numpy(frames[:, :, 1:cut]),
        )


def data_path(folder: Path, name: str, generation: int) -> Path:
    """File of the numbers of one name; those of another generation are of no use any more."""
    return folder / f"{name}.{generation}.bin"


def generations(folder: Path) -> set[int]:
    """The generations of which there are files."""
    return {generation for _, generation in _data_files(folder)}


def remove_others(folder: Path, generation: int) -> None:
    """Remove files of numbers of other generations than the one that counts."""
    for path, number in _data_files(folder):
        if number != generation:
            path.unlink(missing_ok=True)


def _data_files(folder: Path) -> list[tuple[Path, int]]:
    found = []
    for path in folder.glob("*.bin"):
        name, number = path.stem.partition(".")[::2]
        if name in _NAMES and number.isdecimal():
            found.append((path, int(number)))
    return found


_NAMES = ("features", "frames", "tokens", "first_stage")


def map_rows(folder: Path, layout: Layout, generation: int, rows: int) -> dict[str, np.ndarray]:
    """The first rows of each file, read when they are looked at.

    Raises:
        ValueError: If a file is gone or shorter than that.
    """
    maps: dict[str, np.ndarray] = {}
    for name, (shape, dtype) in layout.files().items():
        if not rows:
            maps[name] = np.empty((0, *shape), dtype)
            continue
        path = data_path(folder, name, generation)
        _check_size(path, rows * int(np.prod(shape)) * dtype.itemsize)
        maps[name] = np.memmap(path, dtype, "r", shape=(rows, *shape))
    return maps


def _check_size(path: Path, needed: int) -> None:
    found = path.stat().st_size if path.is_file() else 0
    if found < needed:
        what = f"has {found} of {needed} bytes" if path.exists() else "is gone"
        raise ValueError(f"{path} {what}: the index is damaged; make it anew with --rebuild.")


class RowWriter:
    """Appends rows to the files of one generation.

    What lies behind the rows that are known is of a process that was stopped: it is cut off.

    Args:
        folder: Of the index.
        layout: Of the rows.
        generation: Of the files.
        rows: Rows that are known.

    Raises:
        OSError: If the files can't be written to.
        ValueError: If a file is shorter than the rows that are known.
    """

    def __init__(self, folder: Path, layout: Layout, generation: int, rows: int) -> None:
        self.folder, self.layout, self.rows = folder, layout, rows
        self._files: dict[str, IO[bytes]] = {}
        try:
            for name, (shape, dtype) in layout.files().items():
                path = data_path(folder, name, generation)
                length = rows * int(np.prod(shape)) * dtype.itemsize
                if rows:
                    _check_size(path, length)
                # Open for as long as the object is in use.
                file = self._files[name] = open(path, "ab")  # noqa: SIM115
                file.truncate(length)
        except BaseException:
            self.close()
            raise

    def append(self, rows: Mapping[str, np.ndarray]) -> range:
        """Append B rows to every file; they are not on the disk before :meth:`sync`.

        Returns:
            Their numbers.
        """
        count = len(rows["features"])
        for name, (shape, dtype) in self.layout.files().items():
            part = np.ascontiguousarray(rows[name], dtype)
            if part.shape != (count, *shape):
                raise ValueError(f"{name}: rows of {shape} are expected, got {part.shape[1:]}")
            self._files[name].write(part.data)
        first, self.rows = self.rows, self.rows + count
        return range(first, self.rows)

    def sync(self) -> None:
        """Wait until the disk has all rows, and the names of the files."""
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self.folder)

    def close(self) -> None:
        """Let go of the files; what was not synced may be lost."""
        for file in self._files.values():
            # What a full disk did not take is not known to anybody.
            with contextlib.suppress(OSError):
                file.close()


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names of the files in a folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the one process that writes to an index.

    Raises:
        BlockingIOError: If another one does.
        WriteError: If the folder can't be written to.
    """
    try:
        opened = open(folder / LOCK, "a+")  # noqa: SIM115
    except OSError as error:
        raise WriteError(folder, error) from error
    with opened as file:
        if not _alone(file):
            file.seek(0)
            raise BlockingIOError(
                errno.EWOULDBLOCK,
                f"another process ({file.read().strip() or 'unknown'}) is writing to the index "
                f"{folder}: wait for it; searching goes on meanwhile",
            )
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _alone(file: IO[str]) -> bool:
    """Take the lock of a file, if nobody has it."""
    last = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            if not lock_file(file, wait=False):
                logger.warning(
                    "%s: this disk has no locks: let one process at a time write to the index",
                    file.name,
                )
            return True
        except BlockingIOError:
            # Readers of a process that was killed hold it until they have noticed.
            if time.monotonic() > last:
                return False
            time.sleep(0.05)
