"""Files, shots and folders of an index, as the page shows and serves them."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from uniadapter.datasets.media import STILL_EXTENSIONS

from .answers import FolderAnswer, PageError
from .ranges import Validators

#: Types by ending. What is served is one of these or an attachment, never a page.
MEDIA_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".avi": "video/x-msvideo",
    ".mpg": "video/mpeg",
    ".mpeg": "video/mpeg",
    ".ts": "video/mp2t",
    ".ogv": "video/ogg",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
    ".avif": "image/avif",
}
OTHER_TYPE = "application/octet-stream"


def shown_path(path: str) -> str:
    """A path that can be sent as UTF-8: bytes that are none become question marks."""
    return os.fsencode(path).decode("utf-8", "replace")


@dataclass(frozen=True)
class FileEntry:
    """An indexed file.

    Attributes:
        file_id: Its number.
        path: From the indexed folder on, ``/`` between folders.
        location: Where it lies.
        kind: What it is.
        size: Bytes when it was indexed.
        modified_ns: When it had been changed last, in nanoseconds since 1970.
        content: What stands for its content: a digest of it, or of its state on the disk.
        rate: Frames a second of a folder of frames; None of a file.
    """

    file_id: int
    path: str
    location: Path
    kind: Literal["video", "image"]
    size: int
    modified_ns: int
    content: str
    rate: float | None = None

    @property
    def media_type(self) -> str:
        """By the ending."""
        return MEDIA_TYPES.get(self.location.suffix.lower(), OTHER_TYPE)

    @property
    def validators(self) -> Validators:
        """Of the state that was indexed, the only one that is served."""
        return Validators(f'"{self.size:x}-{self.modified_ns:x}"', self.modified_ns / 1e9)

    def open(self) -> int:
        """Open the file as it was indexed.

        Returns:
            Its descriptor.

        Raises:
            PageError: If it is gone or was changed.
        """
        gone, name = self._gone(), shown_path(self.path)
        if self.rate is not None:
            message = f"{name} is a folder of frames, which has previews alone."
            raise PageError(404, "folder_of_frames", message)
        try:
            # A pipe in the place of a file would be waited for.
            descriptor = os.open(self.location, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except PermissionError as error:
            message = f"{name} can't be read by the server any more."
            raise PageError(404, "file_unreadable", message) from error
        except (OSError, ValueError) as error:
            raise gone from error
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            os.close(descriptor)
            raise gone
        try:
            self._check_state(state.st_size, state.st_mtime_ns)
        except PageError:
            os.close(descriptor)
            raise
        return descriptor

    def source(self) -> dict[str, Any]:
        """What a worker reads it by.

        Raises:
            PageError: If it is gone or was changed.
        """
        if self.rate is None:
            os.close(self.open())
            return {"source": str(self.location)}
        try:
            entries = [entry for entry in os.scandir(self.location) if _is_frame(entry)]
            states = [entry.stat() for entry in entries]
        except OSError as error:
            raise self._gone() from error
        if not states:
            raise self._gone()
        sizes, times = zip(*((one.st_size, one.st_mtime_ns) for one in states), strict=True)
        self._check_state(sum(sizes), max(times))
        names = sorted(entry.name for entry in entries)
        return {"source": str(self.location), "names": names, "rate": self.rate}

    def _check_state(self, size: int, modified_ns: int) -> None:
        if (size, modified_ns) != (self.size, self.modified_ns):
            name = shown_path(self.path)
            message = f"{name} was changed after it was indexed: run `uniadapter index` again."
            raise PageError(409, "file_changed", message)

    def _gone(self) -> PageError:
        return PageError(404, "file_gone", f"{shown_path(self.path)} is no longer there.")


def _is_frame(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(STILL_EXTENSIONS) and not entry.name.startswith(".")


@dataclass(frozen=True)
class ShotEntry:
    """A part of a file, in seconds from its first frame; of a picture they are 0."""

    shot_id: int
    file_id: int
    start: float
    end: float


class Library:
    """One state of an index.

    Args:
        version: Which.
        files: All files.
        shots: All shots.
    """

    def __init__(
        self, version: str, files: Iterable[FileEntry], shots: Iterable[ShotEntry]
    ) -> None:
        self.version = version
        self._files = {file.file_id: file for file in sorted(files, key=lambda file: file.path)}
        self._shots = {shot.shot_id: shot for shot in shots}
        self._shots_of: defaultdict[int, int] = defaultdict(int)
        for shot in self._shots.values():
            self._shots_of[shot.file_id] += 1
        self._folders = self._count_folders()

    def _count_folders(self) -> dict[str, tuple[str, FolderAnswer]]:
        counts: defaultdict[str, dict[str, int]] = defaultdict(lambda: {"video": 0, "image": 0})
        counts[""]["video"] += 0
        for file in self._files.values():
            folder = file.path
            while folder:
                folder = folder.rpartition("/")[0]
                counts[folder][file.kind] += 1
        return {
            shown_path(folder): (
                folder,
                FolderAnswer(path=shown_path(folder), videos=n["video"], images=n["image"]),
            )
            for folder, n in sorted(counts.items())
        }

    @property
    def folders(self) -> list[FolderAnswer]:
        """All folders, by path; the first one is the indexed folder itself."""
        return [answer for _, answer in self._folders.values()]

    @property
    def shot_count(self) -> int:
        """How many shots there are."""
        return len(self._shots)

    def folder(self, shown: str) -> str:
        """The folder that is shown as a text.

        Raises:
            PageError: If no file lies below it.
        """
        known = self._folders.get(shown.strip("/"))
        if known is None:
            raise PageError(404, "no_such_folder", "No file of the index lies in that folder.")
        return known[0]

    def files(self, folder: str, kind: str | None) -> list[FileEntry]:
        """Files below a folder, by path."""
        start = f"{folder}/" if folder else ""
        return [
            file
            for file in self._files.values()
            if file.path.startswith(start) and kind in (None, file.kind)
        ]

    def shots_of(self, file_id: int) -> int:
        """How many shots a file has."""
        return self._shots_of[file_id]

    def file(self, file_id: int) -> FileEntry:
        """A file by its number.

        Raises:
            PageError: If there is none.
        """
        if file_id not in self._files:
            raise PageError(404, "no_such_file", f"The index has no file {file_id}.")
        return self._files[file_id]

    def shot(self, shot_id: int) -> ShotEntry:
        """A shot by its number.

        Raises:
            PageError: If there is none.
        """
        if shot_id not in self._shots:
            raise PageError(404, "no_such_shot", f"The index has no shot {shot_id}.")
        return self._shots[shot_id]
