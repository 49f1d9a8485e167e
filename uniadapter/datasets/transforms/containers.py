"""What containers say about themselves in their first bytes: their length, how a video was held."""

from __future__ import annotations

import os
import struct
from typing import IO

from ..media import MediaError
from .base_backend import error_summary

_ISO_SUFFIXES = (".mp4", ".mov", ".m4v", ".3gp", ".3g2")
# Top-level boxes of ISO base media files and of QuickTime.
_BOXES = frozenset(
    b"ftyp styp moov mdat free skip wide pnot uuid moof mfra sidx ssix emsg meta prft udta".split()
)


def check_is_file(path: str, backend: str) -> None:
    """Check that the path is a file.

    Raises:
        MediaError: When it is a folder, a device or a pipe.
    """
    if not os.path.isfile(path):
        kind = "folder" if os.path.isdir(path) else "device or pipe"
        raise MediaError(path, f"is a {kind}; a video file is expected (backend {backend!r})")


def check_boxes(path: str) -> tuple[int, int] | None:
    """Check that a file is as long as it says: MP4 and its family, Matroska and AVI say so.

    A file cut short opens without complaint and merely looks shorter where its index stands at the
    front or can be done without, so that frames would be drawn from its beginning only.

    Args:
        path: File; other containers are left alone.

    Returns:
        First byte of an MP4-like file's index and the byte behind it, if it was seen.

    Raises:
        MediaError: When the file claims more bytes than the file has, or it can't be read.
    """
    try:
        with open(path, "rb") as file:
            total = os.path.getsize(path)
            _check_declared_size(file, path, total)
            return _walk_boxes(file, path, total)
    except OSError as error:
        raise MediaError(path, error_summary(error)) from error


def _walk_boxes(file: IO[bytes], path: str, total: int) -> tuple[int, int] | None:
    position, index = 0, None
    while position + 8 <= total:
        file.seek(position)
        size, name = struct.unpack(">I4s", file.read(8))
        if name not in _BOXES:
            # Another container, a maker's own box or junk at the end: the decoder's business.
            return index
        start = position
        if size == 1:
            extended = file.read(8)
            size = struct.unpack(">Q", extended)[0] if len(extended) == 8 else total + 1
        elif size == 0:
            size = total - position
        position += max(size, 8)
        if position > total:
            raise MediaError(
                path,
                f"truncated: its {name.decode()!r} box ends at byte {position}, the file at "
                f"{total}",
                "truncated",
            )
        if name == b"moov":
            index = start, position
    if index is None and path.lower().endswith(_ISO_SUFFIXES):
        raise MediaError(path, "truncated: it ends before its index (no 'moov' box)", "truncated")
    return index


def _check_declared_size(file: IO[bytes], path: str, total: int) -> None:
    """Check the size that Matroska and AVI declare for all there is; MPEG streams have none."""
    head = file.read(64)
    if head[:4] == b"RIFF" and head[8:12] == b"AVI " and len(head) == 64:
        size = struct.unpack("<I", head[4:8])[0]
        # Recorders that can't go back leave 0 or all ones; padding to even sizes may be missing.
        end = 0 if size == 0xFFFFFFFF else size + 7
    elif head[:4] == b"\x1aE\xdf\xa3":
        end = _end_of_segment(head)
    else:
        return
    if end > total:
        reason = f"truncated: its content ends at byte {end}, the file at {total}"
        raise MediaError(path, reason, "truncated")


def _end_of_segment(head: bytes) -> int:
    """Where a Matroska file's content ends, 0 where it doesn't say."""
    size, start = _vint(head, 4)
    at = start + (size or 0)
    if size is None or head[at : at + 4] != b"\x18S\x80g":
        return 0
    size, start = _vint(head, at + 4)
    return start + size if size is not None else 0


def _vint(data: bytes, at: int) -> tuple[int | None, int]:
    """A size of Matroska, None when unknown, and the byte behind it."""
    if at >= len(data) or not data[at]:
        return None, at
    length = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + length], "big") & (1 << 7 * length) - 1
    unknown = value == (1 << 7 * length) - 1 or at + length > len(data)
    return (None if unknown else value), at + length


def is_turned_oddly(path: str, index: tuple[int, int]) -> bool:
    """Whether an MP4-like file notes a mirrored picture or another angle than quarter turns."""
    with open(path, "rb") as file:
        file.seek(index[0])
        data = file.read(index[1] - index[0])
    place = data.find(b"tkhd")
    while 0 <= place < len(data) - 92:
        # Behind the name, flags and times, which are wider in version 1.
        start = place + (56 if data[place + 4] else 44)
        a, b, _, c, d = struct.unpack(">5i", data[start : start + 20])
        if a * d - b * c < 0 or ((a or d) and (b or c)):
            return True
        place = data.find(b"tkhd", start)
    return False
