"""Reader of video files through PyAV: the frames in the order they are shown, whatever the file."""

from __future__ import annotations

import bisect
import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..media import MediaError
from .base_backend import VideoBackend, error_summary
from .containers import check_boxes, check_is_file
from .packets import (
    Entry,
    frame_rate,
    import_av,
    main_stream,
    open_container,
    read_errors,
    read_index,
)
from .upright import turn_upright

#: Decoded frames that are kept while a file is counted, so that it need not be decoded twice.
HELD_BYTES = 64 * 2**20


class AvBackend(VideoBackend):
    """Video files through PyAV (FFmpeg), one thread.

    Frame i is the i-th that a plain decoding of the file shows. Where the packets of the file are
    its frames, the reader begins at the last entry before each wanted frame and has the decoder
    leave out frames that no other builds on, in H.264 about half of them. Where :attr:`doubt` says
    why they are not, the file is decoded from its start.

    In a stream that changes its size, frames are scaled to the size of the first.

    Attributes:
        doubt: Why frames can't be told from packets; empty when they can.

    Raises:
        ImportError: When the package is missing.
        MediaError: When the file can't be read.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        check_is_file(path, "av")
        check_boxes(path)
        self._errors = read_errors()
        self._reformatter = import_av().video.reformatter.VideoReformatter()
        self._held: list[Any] = []
        # A decoding from the start under way, and the number of its next frame.
        self._run: tuple[Iterator[Any], int] | None = None
        try:
            self._container = open_container(path)
            self._stream = main_stream(self._container, path)
            context = self._stream.codec_context
            # What the decoder would paint over depends on where it began.
            context.options = {"err_detect": "explode"}
            self._size = (context.width, context.height)
            index = read_index(self._container, self._stream)
            self.doubt = index.doubt
            self._times: list[Any] = index.shown_times()
            if self.doubt:
                self._count()
        except self._errors as error:
            raise MediaError(path, error_summary(error)) from error
        if not self._times:
            raise MediaError(path, "the video has no frame", "empty")
        self._places = {time: place for place, time in enumerate(index.times)}
        self._positions = index.positions
        self._entries = sorted(index.entries)
        self._leave_out = "NONREF" if _names_unused_frames(context) else "DEFAULT"

    def __len__(self) -> int:
        return len(self._times)

    @property
    def rate(self) -> float | None:
        """See :attr:`VideoBackend.rate`."""
        return frame_rate(self._stream)

    def spans(self) -> np.ndarray:
        """(len, 2) float64: the seconds at which each frame comes and goes.

        Where the file has no ascending times, they are those of its average rate.
        """
        times = self._times
        rate = float(self._stream.average_rate or self._stream.guessed_rate or 25)
        if None in times or any(a >= b for a, b in itertools.pairwise(times)):
            starts = np.arange(len(times) + 1) / rate
        else:
            starts = np.array([*times, times[-1]]) * float(self._stream.time_base)
            starts[-1] += starts[-2] - starts[-3] if len(times) > 1 else 1 / rate
        return np.stack([starts[:-1], starts[1:]], axis=1)

    def get_frames(self, indices: Sequence[int]) -> np.ndarray:
        """See :meth:`VideoBackend.get_frames`."""
        numbers = self.check_indices(indices)
        frames: dict[int, np.ndarray] = {}
        if not self.doubt:
            self._seek(sorted(set(numbers)), frames)
        missing = sorted(set(numbers) - frames.keys())
        if missing:
            self._read_on(missing, frames)
        return np.stack([frames[number] for number in numbers])

    def walk(self, numbers: Sequence[int]) -> Iterator[np.ndarray]:
        """Read many frames, one in memory at a time; they are those of :meth:`get_frames`.

        Args:
            numbers: Ascending frame numbers in [0, len).

        Yields:
            (H, W, 3) uint8 RGB.

        Raises:
            MediaError: As :meth:`get_frames`.
        """
        left = self.check_indices(numbers)
        # Few frames are reached sooner from entry to entry, as long as packets are frames.
        if not self.doubt and len(left) < len(self._entries):
            yield from (self.get_frames([number])[0] for number in left)
            return
        wanted = set(left)
        for number, frame in enumerate(self._in_order()):
            if number > left[-1]:
                return
            if not self.doubt and (number >= len(self) or frame.pts != self._times[number]):
                raise MediaError(self.path, f"frame {number}: its packets say another time")
            if number in wanted:
                yield self._as_rgb(frame, number)
        if number < left[-1]:
            raise MediaError(self.path, f"frame {left[-1]}: the decoder gave no such frame")

    # From entry to entry.

    def _seek(self, numbers: list[int], frames: dict[int, np.ndarray]) -> None:
        """Read frames by their times; less than all when the file is not as its packets say."""
        runs: dict[Entry, list[int]] = {}
        for number in numbers:
            runs.setdefault(self._entry_before(self._times[number]), []).append(number)
        for entry, wanted in runs.items():
            # The decoding from the start says what is wrong, or that nothing is.
            with contextlib.suppress(*self._errors):
                self._decode(entry, {self._times[number]: number for number in wanted}, frames)

    def _entry_before(self, pts: int) -> Entry:
        """The packet to start decoding at; the first one is an entry."""
        return self._entries[bisect.bisect_right(self._entries, pts, key=lambda p: p.pts) - 1]

    def _decode(self, entry: Entry, wanted: dict[int, int], frames: dict[int, np.ndarray]) -> None:
        """Decode from an entry on, until ``wanted`` (number by time) is in ``frames``."""
        left = dict(wanted)
        last = None
        for packet in self._packets_from(entry):
            # Which frames others build on is in their packets: the decoder looks at each.
            needed = packet.pts is None or packet.pts in wanted
            self._stream.codec_context.skip_frame = "DEFAULT" if needed else self._leave_out
            for frame in packet.decode():
                if last is not None and frame.pts <= last:
                    return
                last = frame.pts
                number = left.pop(frame.pts, None)
                if number is not None:
                    frames[number] = self._as_rgb(frame, number)
            if not left:
                return

    def _packets_from(self, entry: Entry) -> Iterator[Any]:
        """Packets from an entry on, or from before it where the container seeks coarsely."""
        # Some containers list keyframes by one time, some by the other.
        for target in (entry.pts, entry.dts, self._entries[0].dts):
            self._container.seek(target, stream=self._stream, backward=True, any_frame=False)
            packets = self._container.demux(self._stream)
            first = next(packets)
            place = self._place(first)
            if place is not None and place <= entry.place:
                break
        else:
            return
        yield first
        for packet in packets:
            # What a container counts, such as AVI, it may count otherwise from another place.
            if packet.size and self._place(packet) is None:
                return
            yield packet

    def _place(self, packet: Any) -> int | None:
        """Number of a packet in the file, if it is the one that the index has of its time."""
        place = self._places.get(packet.pts)
        return place if place is not None and self._positions[place] == packet.pos else None

    # From the start.

    def _in_order(self) -> Iterator[Any]:
        """Decode the file from its start, by a decoder of its own."""
        with open_container(self.path) as container:
            stream = main_stream(container, self.path)
            count = 0
            for packet in itertools.chain(container.demux(stream), [None]):
                # AVI repeats a frame by an empty packet, which would end the decoding.
                if packet is not None and not packet.size:
                    continue
                try:
                    frames = stream.codec_context.decode(packet)
                except self._errors as error:
                    # A file may begin inside a group, whose frames can't be decoded nor shown.
                    if not count:
                        continue
                    raise MediaError(self.path, f"frame {count}: {error_summary(error)}") from error
                count += len(frames)
                yield from frames

    def _count(self) -> None:
        """Decode the whole file; keep all times, and the first frames as they are."""
        times: list[Any] = []
        held: list[Any] = []
        total = 0
        for frame in self._in_order():
            if not times:
                self._size = (frame.width, frame.height)
            times.append(frame.pts)
            total += sum(plane.buffer_size for plane in frame.planes)
            if total <= HELD_BYTES:
                held.append(frame)
        self._times, self._held = times, held

    def _read_on(self, numbers: list[int], frames: dict[int, np.ndarray]) -> None:
        """Read ascending frame numbers from the start on."""
        if not self.doubt:
            promised = len(self)
            self.doubt = "the decoder gave other frames than its packets say"
            self._count()
            if len(self) != promised:
                raise MediaError(
                    self.path,
                    f"frame {numbers[0]}: the decoder gave no such frame; it has {len(self)}, its "
                    f"packets say {promised}",
                )
        if numbers[-1] < len(self._held):
            frames.update((number, self._as_rgb(self._held[number], number)) for number in numbers)
            return
        wanted = set(numbers)
        run, self._run = self._run, None
        source, first = run if run and run[1] <= numbers[0] else (self._in_order(), 0)
        for number, frame in enumerate(source, first):
            if number in wanted:
                frames[number] = self._as_rgb(frame, number)
            if number == numbers[-1]:
                self._run = source, number + 1
                return
        raise MediaError(self.path, f"frame {numbers[-1]}: the decoder gave no such frame")

    def _as_rgb(self, frame: Any, number: int) -> np.ndarray:
        if frame.is_corrupt:
            raise MediaError(self.path, f"frame {number}: its data are damaged")
        scaling = {}
        if (frame.width, frame.height) != self._size:
            width, height = self._size
            scaling = {"width": width, "height": height, "interpolation": "BICUBIC"}
        rgb = self._reformatter.reformat(frame, format="rgb24", threads=1, **scaling).to_ndarray()
        return turn_upright(rgb, frame)


def _names_unused_frames(context: Any) -> bool:
    """Whether the decoder may be told to leave out frames that no other is predicted from.

    In H.265 the mark means that no frame of the same layer in time is; more layers may be.
    """
    if context.codec.canonical_name == "hevc":
        return context.extradata[21] >> 3 & 7 == 1
    return context.codec.canonical_name in ("h264", "mpeg4")
