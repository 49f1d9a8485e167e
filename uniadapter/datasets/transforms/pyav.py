"""Reader of video files through PyAV, which leaves out frames that no wanted one builds on."""

from __future__ import annotations

import bisect
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..media import MediaError
from .base_backend import VideoBackend, error_summary
from .video_files import check_boxes


class _Packet(NamedTuple):
    """An encoded frame: its time of presentation, its place in the file and where to seek to it."""

    pts: int
    place: int
    dts: int
    is_keyframe: bool


class AvBackend(VideoBackend):
    """Video files through PyAV (FFmpeg), one thread; needs the package ``av``.

    Frames are numbered as :class:`DecordBackend` numbers them and are the same. Most encoders
    write frames that no other frame is predicted from, in H.264 about half of them; this reader
    has the decoder leave such a frame out unless it is wanted.

    Raises:
        ImportError: When the package is missing.
        MediaError: When the file can't be read, or its packets carry no times.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        if os.path.isdir(path):
            raise MediaError(path, "is a folder; a video file is expected (backend 'av')")
        check_boxes(path)
        try:
            import av
            from av.video.reformatter import VideoReformatter
        except ImportError as error:
            raise ImportError("LoadVideo's backend 'av' needs PyAV: pip install av") from error
        try:
            self._container = av.open(path)
            if not self._container.streams.video:
                raise MediaError(path, "has no video stream")
            self._stream = self._container.streams.video[0]
            self._stream.thread_type = "NONE"
            self._packets = self._index()
        except av.error.FFmpegError as error:
            raise MediaError(path, error_summary(error)) from error
        self._reformatter = VideoReformatter()
        self._error = av.error.FFmpegError
        self._places = {packet.pts: packet.place for packet in self._packets}
        self._times = sorted(packet.pts for packet in self._packets)
        self._keys = sorted(packet for packet in self._packets if packet.is_keyframe)

    def _index(self) -> list[_Packet]:
        """Times of all frames in the order of the file; nothing is decoded."""
        packets: list[_Packet] = []
        for packet in self._container.demux(self._stream):
            if not packet.size or packet.is_discard:
                continue
            if packet.pts is None:
                raise MediaError(
                    self.path, "its packets carry no times; read it with backend 'decord'"
                )
            dts = packet.pts if packet.dts is None else packet.dts
            packets.append(_Packet(packet.pts, len(packets), dts, packet.is_keyframe))
        # AVI notes when to decode a frame, which here would be taken for when to show it.
        ascending = all(a.pts < b.pts for a, b in itertools.pairwise(packets))
        is_avi = self._container.format.name == "avi"
        if is_avi and ascending and self._stream.codec_context.has_b_frames:
            raise MediaError(
                self.path, "AVI has no times for frames out of order; read it with backend 'decord'"
            )
        if len({packet.pts for packet in packets}) < len(packets):
            raise MediaError(
                self.path, "two packets carry the same time; read it with backend 'decord'"
            )
        if not packets:
            raise MediaError(self.path, "the video has no frame", "empty")
        return packets

    def __len__(self) -> int:
        return len(self._times)

    def get_frames(self, indices: Sequence[int]) -> np.ndarray:
        """See :meth:`VideoBackend.get_frames`."""
        runs: dict[_Packet, list[int]] = {}
        for index in sorted(set(indices)):
            runs.setdefault(self._key_before(self._times[index]), []).append(index)
        frames: dict[int, np.ndarray] = {}
        for key, wanted in runs.items():
            try:
                self._decode(key, {self._times[index]: index for index in wanted}, frames)
            except self._error as error:
                missing = next(index for index in wanted if index not in frames)
                raise MediaError(self.path, f"frame {missing}: {error_summary(error)}") from error
        return np.stack([frames[index] for index in indices])

    def _key_before(self, pts: int) -> _Packet:
        """The frame to start decoding at."""
        place = bisect.bisect_right(self._keys, pts, key=lambda packet: packet.pts)
        return self._keys[place - 1] if place else self._packets[0]

    def _decode(self, key: _Packet, wanted: dict[int, int], frames: dict[int, np.ndarray]) -> None:
        """Decode from a keyframe on, until ``wanted`` (number by time) is in ``frames``."""
        left = dict(wanted)
        for packet in self._packets_from(key):
            # Which frames others build on is in their packets: the decoder looks at each.
            needed = packet.pts is None or packet.pts in wanted
            self._stream.codec_context.skip_frame = "DEFAULT" if needed else "NONREF"
            for frame in packet.decode():
                index = left.pop(frame.pts, None)
                if index is not None:
                    frames[index] = self._as_rgb(frame, index)
            if not left:
                return
        raise MediaError(self.path, f"frame {min(left.values())}: the decoder gave no such frame")

    def _packets_from(self, key: _Packet) -> Iterator[Any]:
        """Packets from a keyframe on, or from before it where the container seeks coarsely."""
        # Some containers list keyframes by one time, some by the other.
        for target in (key.pts, key.dts, self._packets[0].dts):
            self._container.seek(target, stream=self._stream, backward=True, any_frame=False)
            packets = self._container.demux(self._stream)
            first = next(packets)
            if first.pts is not None and self._places.get(first.pts, len(self)) <= key.place:
                break
        yield first
        yield from packets

    def _as_rgb(self, frame: Any, index: int) -> np.ndarray:
        if frame.is_corrupt:
            raise MediaError(self.path, f"frame {index}: its data are damaged")
        rgb = self._reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        # The container's note of how the camera was held, in degrees against the clock.
        return np.ascontiguousarray(np.rot90(rgb, frame.rotation // 90)) if frame.rotation else rgb
