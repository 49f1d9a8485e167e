"""Reader of video files through decord."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence

import numpy as np

from ...utils.compat import import_decord
from ..media import MediaError
from .base_backend import VideoBackend, error_summary

_ISO_SUFFIXES = (".mp4", ".mov", ".m4v", ".3gp")
# Top-level boxes of ISO base media files and of QuickTime.
_BOXES = frozenset(
    b"ftyp styp moov mdat free skip wide pnot uuid moof mfra sidx ssix emsg meta prft udta".split()
)


class DecordBackend(VideoBackend):
    """Video files through decord.

    Frames are numbered as they are decoded, in order of presentation: in a file of variable frame
    rate a number is not a time. One decoding thread, because the data loader's workers already
    occupy the cores.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        if os.path.isdir(path):
            raise MediaError(path, "is a folder; a video file is expected (backend 'decord')")
        check_boxes(path)
        # Imported here: decord must come after torch, and inside the worker that uses it.
        decord = import_decord()
        try:
            self._reader = decord.VideoReader(path, num_threads=1)
        # decord raises bare exceptions of several unrelated classes.
        except Exception as error:
            raise MediaError(path, error_summary(error)) from error

    def __len__(self) -> int:
        return len(self._reader)

    def spans(self) -> np.ndarray:
        """(len, 2) float32: the seconds at which each frame comes and goes."""
        return np.asarray(self._reader.get_frame_timestamp(range(len(self))))

    def get_frames(self, indices: Sequence[int]) -> np.ndarray:
        """See :meth:`VideoBackend.get_frames`."""
        wanted, places = np.unique(np.asarray(indices, dtype=np.int64), return_inverse=True)
        frames = self._sorted_frames(wanted.tolist())
        # Copied only where the caller wants repeats or another order.
        return (
            frames if len(wanted) == len(places) and (np.diff(places) > 0).all() else frames[places]
        )

    def _sorted_frames(self, wanted: list[int]) -> np.ndarray:
        try:
            return self._reader.get_batch(wanted).asnumpy()
        # decord can't batch frames whose rows it pads, and doesn't say which frame it failed at:
        # one by one the first are read, and of the second the one is named.
        except Exception:
            return np.stack([self._frame(index) for index in wanted])

    def _frame(self, index: int) -> np.ndarray:
        try:
            return _without_padding(self._reader[index].asnumpy())
        except Exception as error:
            raise MediaError(self.path, f"frame {index}: {error_summary(error)}") from error


def check_boxes(path: str) -> None:
    """Check that the top-level boxes of an MP4-like file fill it to its end.

    A file cut short whose index stands at the front opens without complaint and merely looks
    shorter, so that frames would be drawn from its beginning only. The sizes the container itself
    declares tell; reading them costs a few seeks.

    Args:
        path: File; other containers than the MP4 family are left alone.

    Raises:
        MediaError: When a box claims more bytes than the file has.
    """
    if not path.lower().endswith(_ISO_SUFFIXES):
        return
    total = os.path.getsize(path)
    position = 0
    seen = set()
    with open(path, "rb") as file:
        while position + 8 <= total:
            file.seek(position)
            size, name = struct.unpack(">I4s", file.read(8))
            if name not in _BOXES:
                # Another container, a maker's own box or junk at the end: the decoder's business.
                return
            seen.add(name)
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
    if b"moov" not in seen:
        raise MediaError(path, "truncated: it ends before its index (no 'moov' box)", "truncated")


def _without_padding(frame: np.ndarray) -> np.ndarray:
    """Undo the row padding that decord leaves in frames narrower than 64 pixels.

    Its decoder pads rows to a multiple of 64 bytes; where that makes a fourth byte a pixel, the
    array arrives as (H, W, 4) although the rows still hold packed RGB and then padding.
    """
    height, width, channels = frame.shape
    if channels == 3:
        return frame
    return frame.reshape(height, width * channels)[:, : width * 3].reshape(height, width, 3)
