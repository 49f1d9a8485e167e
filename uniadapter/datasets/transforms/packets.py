"""What lies in a video file, and whether its frames can be reached by their times.

Reading the packets of a file decodes nothing and costs a few per cent of reading sampled frames.
Two things may be hoped of them and don't hold in every file: that each packet is one frame, shown
at the packet's time, and that decoding may begin at any packet the container calls a keyframe.
:func:`doubt_about` says why they don't hold in a file; the frames of such a file are counted by
decoding it from its start.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ..media import MediaError
from .bitstreams import VIEWS, PacketView

#: Containers whose packets carry the times of presentation, and seek to the packet they are asked.
_TIMED_CONTAINERS = frozenset(("mov", "mp4", "matroska", "webm"))
#: ``field_order`` of a stream without interlacing: not said, or progressive.
_WHOLE_PICTURES = (0, 1)


class Entry(NamedTuple):
    """A packet at which decoding may begin.

    Attributes:
        pts: Its time of presentation, in units of the stream.
        place: Its number in the file, from 0.
        dts: Its time of decoding.
    """

    pts: int
    place: int
    dts: int


@dataclass
class Index:
    """The packets of a stream, in the order of the file.

    Attributes:
        times: Their times of presentation, in units of the stream.
        positions: Bytes of the file at which they stand.
        decoding_times: Their times of decoding, where the container has any.
        hidden: Places of packets that are decoded and not shown, by an edit list or by the encoder.
        entries: Those at which decoding may begin.
        marks: How many the container calls keyframes.
        doubt: Why frames can't be told from packets; empty when they can.
    """

    times: list[int] = field(default_factory=list)
    positions: list[int | None] = field(default_factory=list)
    decoding_times: list[int] = field(default_factory=list)
    hidden: list[int] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    marks: int = 0
    doubt: str = ""

    def shown_times(self) -> list[int]:
        """Ascending times of the packets that become frames."""
        hidden = set(self.hidden)
        return sorted(t for place, t in enumerate(self.times) if place not in hidden)

    def is_closed(self) -> bool:
        """Whether going to any mark is as good as decoding from the start, and all is shown.

        Every marked packet is then an entry, and what follows it in the file is shown after it.
        """
        if self.doubt or self.hidden or self.marks != len(self.entries):
            return False
        first_from = np.minimum.accumulate(self.times[::-1])[::-1]
        return all(first_from[entry.place] == entry.pts for entry in self.entries)


def import_av() -> ModuleType:
    """Import PyAV.

    Raises:
        ImportError: When it is missing.
    """
    try:
        import av
    except ImportError as error:
        raise ImportError("Reading video files needs PyAV: pip install av") from error
    return av


def read_errors() -> tuple[type[Exception], ...]:
    """What reading may raise: bytes that are no video meet errors of PyAV and of FFmpeg."""
    return (import_av().error.FFmpegError, ValueError, OverflowError, MemoryError, EOFError)


def open_container(path: str) -> Any:
    """Open a file as PyAV's container; the errors are PyAV's own."""
    # A path with a colon would be taken for an address, and playlists may name some.
    return import_av().open(
        f"file:{path}", metadata_errors="ignore", options={"protocol_whitelist": "file"}
    )


def frame_rate(stream: Any) -> float | None:
    """Frames a second of a stream, on average, as OpenCV has them.

    What a stream is guessed to have is the most that its times go together with, which differs
    where frames are unevenly spaced.
    """
    rate = stream.average_rate or stream.guessed_rate
    return float(rate) if rate else None


def main_stream(container: Any, path: str) -> Any:
    """Choose the video stream that the program ``ffmpeg`` would, set to one decoding thread.

    That is the one with the most pixels, where being marked as the default counts as five million;
    pictures attached as a cover come last, and of equals the first is taken.

    Raises:
        MediaError: When there is none.
    """
    streams = [stream for stream in container.streams.video if stream.codec_context is not None]
    if not streams:
        kinds = ", ".join(sorted({str(stream.type) for stream in container.streams}))
        reason = f"has no video stream that can be decoded, only {kinds or 'nothing'}"
        raise MediaError(path, reason)
    cover, default = 0x400, 0x1

    def preference(stream: Any) -> int:
        flags = int(stream.disposition)
        area = stream.codec_context.width * stream.codec_context.height
        return 0 if flags & cover else area + 5_000_000 * bool(flags & default)

    stream = max(streams, key=preference)
    for other in container.streams:
        # Sound would be read only to be thrown away.
        if other.index != stream.index:
            other.discard = type(other.discard).all
    stream.thread_type = "NONE"
    stream.codec_context.thread_count = 1
    return stream


def read_index(container: Any, stream: Any) -> Index:
    """Read all packets of a stream; nothing is decoded."""
    names = set(container.format.name.split(","))
    codec = stream.codec_context.codec.canonical_name
    intra = stream.codec_context.codec.intra_only
    if not (names & _TIMED_CONTAINERS or (names == {"avi"} and intra)):
        return Index(doubt=f"the times in {container.format.long_name} can't be relied on")
    if codec not in VIEWS and not intra:
        return Index(doubt=f"packets of {codec} are not understood")
    view = VIEWS[codec](stream.codec_context) if codec in VIEWS else PacketView()
    index = Index()
    # Matroska has one time a packet; FFmpeg works the other one out of it.
    has_two_times = "mov" in names
    for packet in container.demux(stream):
        if not packet.size:
            continue
        pts, dts, place, shown = packet.pts, packet.dts, len(index.times), True
        if pts is None:
            return Index(doubt="a packet carries no time")
        dts = pts if dts is None else dts
        if packet.is_keyframe or view.looks_at_all:
            entry, shown = view.look(packet)
            if view.doubt:
                return Index(doubt=view.doubt)
            index.marks += packet.is_keyframe
            if entry:
                index.entries.append(Entry(pts, place, dts))
        if packet.is_discard or not shown:
            index.hidden.append(place)
        index.times.append(pts)
        index.positions.append(packet.pos)
        if has_two_times:
            index.decoding_times.append(dts)
    index.doubt = doubt_about(index, stream.codec_context)
    return index


def doubt_about(index: Index, context: Any) -> str:
    """Say why the packets' times don't number the frames, or nothing when they do.

    Args:
        index: All packets.
        context: PyAV's codec context of their stream.
    """
    shown = index.shown_times()
    if not shown:
        return "no packet is shown"
    if len(set(shown)) < len(shown):
        return "two packets carry the same time"
    if not index.entries or index.entries[0].place or min(index.times) < index.times[0]:
        return "it begins inside a group of frames"
    # Before version 18 PyAV doesn't tell.
    order = getattr(context, "field_order", None)
    if context.codec.canonical_name == "h264" and order not in _WHOLE_PICTURES:
        return "it may be interlaced, and a packet half a frame"
    return _doubt_about_order(index, context.reorder_depth)


def _doubt_about_order(index: Index, depth: int) -> str:
    """Say why a decoder that holds back ``depth`` frames may not follow the times, if it may not.

    It gives the first of the frames it has in its own order, which is not that of wrong times.
    """
    places = np.argsort(index.times, kind="stable")
    # In the order of times each frame must have come when it is its turn.
    if (places - np.arange(len(places))).max() > depth:
        return "its times ask for another order than the decoder's"
    if not depth or len(places) < 2:
        return ""
    if (np.diff(places) == 1).all():
        return "its times follow the order of decoding, its frames another"
    # Even steps are no accident. Uneven ones are right where the times of decoding are the same
    # ones, later by some frames, as encoders note them.
    times = np.array(index.times)[places]
    steps = np.diff(times)
    if np.ptp(steps) <= (2 if steps.min() > 4 else 0):
        return ""
    decoding = np.array(index.decoding_times)
    shifts = range(1, min(depth, len(decoding) - 1) + 1)
    if any(np.array_equal(decoding[k:], times[:-k]) for k in shifts):
        return ""
    return "its times are uneven, and nothing says that they are in order"
