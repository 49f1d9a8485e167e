"""Reader of video files through decord."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...utils.compat import import_decord
from ..media import MediaError
from .base_backend import InexactError, VideoBackend, error_summary
from .containers import check_boxes, check_is_file, is_turned_oddly
from .packets import frame_rate, main_stream, open_container, read_errors, read_index


class DecordBackend(VideoBackend):
    """Video files through decord, one decoding thread; needs PyAV beside it.

    decord goes to the keyframe before a wanted frame and counts packets as frames. In files where
    that gives other frames than a plain decoding (open groups of frames, edit lists, containers
    without times of presentation), it is refused.

    Raises:
        ImportError: When a package is missing.
        InexactError: When decord's frame i may not be the i-th that the file shows.
        MediaError: When the file can't be read.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        check_is_file(path, "decord")
        boxes = check_boxes(path)
        frames, self._rate = _frames_by_number(path)
        if boxes and is_turned_oddly(path, boxes):
            raise _refusal(path, "it notes a mirrored picture or a slanted one")
        # Imported here: decord must come after torch, and inside the worker that uses it.
        decord = import_decord()
        try:
            self._reader = decord.VideoReader(path, num_threads=1)
        # decord raises bare exceptions of several unrelated classes.
        except Exception as error:
            raise MediaError(path, error_summary(error)) from error
        if len(self) != frames:
            raise _refusal(path, f"it counts {len(self)} frames where the file has {frames}")

    def __len__(self) -> int:
        return len(self._reader)

    @property
    def rate(self) -> float | None:
        """See :attr:`VideoBackend.rate`."""
        return self._rate

    def spans(self) -> np.ndarray:
        """(len, 2) float32: the seconds at which each frame comes and goes."""
        return np.asarray(self._reader.get_frame_timestamp(range(len(self))))

    def get_frames(self, indices: Sequence[int]) -> np.ndarray:
        """See :meth:`VideoBackend.get_frames`."""
        numbers = np.asarray(self.check_indices(indices), dtype=np.int64)
        wanted, places = np.unique(numbers, return_inverse=True)
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
            frames = [self._frame(index) for index in wanted]
        if len({frame.shape for frame in frames}) > 1:
            raise _refusal(self.path, "its frames change their size")
        return np.stack(frames)

    def _frame(self, index: int) -> np.ndarray:
        try:
            return _without_padding(self._reader[index].asnumpy())
        except Exception as error:
            raise MediaError(self.path, f"frame {index}: {error_summary(error)}") from error


def _frames_by_number(path: str) -> tuple[int, float | None]:
    """Number of frames, and their rate, of a file in which decord finds them by their numbers.

    Raises:
        InexactError: When it doesn't.
        MediaError: When the file can't be read.
    """
    try:
        with open_container(path) as container:
            stream = main_stream(container, path)
            if len(container.streams.video) > 1:
                raise _refusal(path, "it has several video streams")
            if stream.codec_context.name == "hevc":
                raise _refusal(path, "it fails behind a seek in H.265")
            index, rate = read_index(container, stream), frame_rate(stream)
    except read_errors() as error:
        raise MediaError(path, error_summary(error)) from error
    if not index.is_closed():
        raise _refusal(path, index.doubt or "its groups of frames are open, or some are hidden")
    return len(index.times), rate


def _refusal(path: str, reason: str) -> InexactError:
    return InexactError(
        path, f"decord may give other frames of it than asked for: {reason}; use backend 'av'"
    )


def _without_padding(frame: np.ndarray) -> np.ndarray:
    """Undo the row padding that decord leaves in frames narrower than 64 pixels.

    Its decoder pads rows to a multiple of 64 bytes; where that makes a fourth byte a pixel, the
    array arrives as (H, W, 4) although the rows still hold packed RGB and then padding.
    """
    height, width, channels = frame.shape
    if channels == 3:
        return frame
    return frame.reshape(height, width * channels)[:, : width * 3].reshape(height, width, 3)
