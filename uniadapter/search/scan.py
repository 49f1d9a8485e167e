"""What of a folder is indexed: videos and pictures in it and below it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import NamedTuple

from uniadapter.datasets.media import IMAGE_EXTENSIONS, STILL_EXTENSIONS, VIDEO_EXTENSIONS

from .hits import Kind

TAR = ".tar"


class Found(NamedTuple):
    """A file on the disk.

    Attributes:
        kind: By its extension; a folder of frames is a video.
        size: In bytes, of a folder of frames all its pictures.
        mtime_ns: When it was changed, of a folder of frames the last of it.
    """

    kind: Kind
    size: int
    mtime_ns: int


def is_uri(location: str) -> bool:
    """Whether a location names what it is to be read with, as ``https://`` does."""
    return "://" in location


def is_elsewhere(path: str, mtime_ns: int) -> bool:
    """Whether what an index has is no file of its folder, but came with an encoded corpus.

    Args:
        path: Of the index: an address, or a tar and its member.
        mtime_ns: Time of change; such media have none.
    """
    in_tar = any(part.lower().endswith(TAR) for part in path.split("/")[:-1])
    return is_uri(path) or (in_tar and not mtime_ns)


@dataclass
class Scan:
    """What there is.

    Attributes:
        files: By their paths below the folder, ``/`` between folders.
        unlisted: Folders, and files, that could not be looked at, with the reason: nobody knows
            what is there.
    """

    files: dict[bytes, Found] = field(default_factory=dict)
    unlisted: dict[bytes, str] = field(default_factory=dict)

    def hides(self, path: bytes) -> bool:
        """Whether nobody could see if a file is there."""
        return any(path == place or path.startswith(place + b"/") for place in self.unlisted)


def kind_of(name: bytes) -> Kind | None:
    """What a file is, by its extension; None of what is neither."""
    suffix = os.path.splitext(name)[1].lower().decode("ascii", "replace")
    if suffix in VIDEO_EXTENSIONS:
        return "video"
    return "image" if suffix in IMAGE_EXTENSIONS else None


def scan(root: str, frames: bool = False) -> Scan:
    """List the media of a folder and those below it.

    Names that begin with a dot are left out. A link to a file counts if it leads to one within the
    folder; links to folders are not followed.

    Args:
        root: The folder.
        frames: Whether folders below it that hold pictures alone are videos.

    Raises:
        FileNotFoundError: If there is no such folder.
        OSError: If it can't be listed.
    """
    if not os.path.isdir(root):
        what = "is a file" if os.path.exists(root) else "does not exist"
        raise FileNotFoundError(f"The folder {root} {what}: name a folder of videos and pictures.")
    top = os.fsencode(root)
    result, real = Scan(), os.path.realpath(top)
    # A folder that can't be listed at all is no empty one.
    waiting = [(b"", sorted(os.scandir(top), key=lambda entry: entry.name))]
    while waiting:
        place, entries = waiting.pop()
        below: list[bytes] = []
        media: dict[bytes, Found] = {}
        for entry in entries:
            if entry.name.startswith(b"."):
                continue
            path = place + b"/" + entry.name if place else entry.name
            if entry.is_dir(follow_symlinks=False):
                below.append(path)
                continue
            try:
                found = _file_of(entry, real)
            except OSError as error:
                result.unlisted[path] = error.strerror or str(error)
                continue
            if found is not None:
                media[path] = found
        if frames and place and not below and _are_frames(media):
            times = [one.mtime_ns for one in media.values()]
            size = sum(one.size for one in media.values())
            result.files[place] = Found("video", size, max(times))
            continue
        result.files.update(media)
        for path in below:
            try:
                listed = list(os.scandir(os.path.join(top, path)))
            except OSError as error:
                result.unlisted[path] = error.strerror or str(error)
                continue
            waiting.append((path, listed))
    return result


def _are_frames(media: dict[bytes, Found]) -> bool:
    return bool(media) and all(path.lower().endswith(_STILLS) for path in media)


_STILLS = tuple(suffix.encode() for suffix in STILL_EXTENSIONS)


def _file_of(entry: os.DirEntry[bytes], root: bytes) -> Found | None:
    """A file of the folder; None of what is no medium, no file, elsewhere, or gone again."""
    kind = kind_of(entry.name)
    if kind is None:
        return None
    try:
        if entry.is_symlink():
            real = os.path.realpath(entry.path)
            if os.path.commonpath([real, root]) != root:
                return None
        known = entry.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(known.st_mode):
        return None
    return Found(kind, known.st_size, known.st_mtime_ns)
