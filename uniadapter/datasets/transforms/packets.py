"""What lies in a video file, and whether its frames can be reached by their times.

Reading the packets of a file decodes nothing and costs a few per cent of reading sampled frames.
Two things may be hoped of them and don't hold in every file: that each packet is one frame, shown
at the packet's time, and that decoding may begin at any packet the container calls a keyframe.
:func:`doubt_about` says why they don't hold in a file; the frames of such a file are counted by
decoding it from its start.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

from ..media import MediaError
from .bitstreams import VIEWS, PacketView

#: Containers whose packets carry the times of presentation, and seek to the packet they are asked.
_TIMED_CONTAINERS = frozenset(("mov", "mp4", "matroska", "webm"))
#: ``field_order`` of a stream without interlacing: not said, or progressive.
_WHOLE_PICTURES = (0, 1)


class Packet(NamedTuple):
    """An encoded frame, or part of one.

    Attributes:
        pts: Time of presentation, in units of the stream.
        place: Number of the packet in the file, from 0.
        dts: Time of decoding.
        is_entry: Decoding may begin here.
        is_shown: It becomes a frame that is shown; edit lists and encoders hide some.
    """

    pts: int
    place: int
    dts: int
    is_entry: bool
    is_shown: bool


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
    stream.thread_type = "NONE"
    stream.codec_context.thread_count = 1
    return stream


class Index(NamedTuple):
    """The packets of a file's main stream.

    Attributes:
        packets: In the order of the file.
        doubt: Why frames can't be told from packets; empty when they can.
        is_closed: Every packet marked as a keyframe is an entry, and what follows it in the file is
            shown after it and not hidden: going to any mark is as good as decoding from the start.
    """

    packets: list[Packet]
    doubt: str
    is_closed: bool = False


def read_index(container: Any, stream: Any) -> Index:
    """Read all packets of a stream; nothing is decoded."""
    names = set(container.format.name.split(","))
    codec = stream.codec_context.codec.canonical_name
    intra = stream.codec_context.codec.intra_only
    if not (names & _TIMED_CONTAINERS or (names == {"avi"} and intra)):
        return Index([], f"the times in {container.format.long_name} can't be relied on")
    if codec not in VIEWS and not intra:
        return Index([], f"packets of {codec} are not understood")
    view = VIEWS[codec](stream.codec_context) if codec in VIEWS else PacketView()
    packets: list[Packet] = []
    marks = 0
    for packet in container.demux(stream):
        if not packet.size:
            continue
        if packet.pts is None:
            return Index([], "a packet carries no time")
        entry, shown = view.look(packet)
        marks += packet.is_keyframe
        if view.doubt:
            return Index([], view.doubt)
        dts = packet.pts if packet.dts is None else packet.dts
        shown = shown and not packet.is_discard
        packets.append(Packet(packet.pts, len(packets), dts, entry, shown))
    doubt = doubt_about(packets, stream.codec_context)
    return Index(packets, doubt, not doubt and _is_closed(packets, marks))


def _is_closed(packets: Sequence[Packet], marks: int) -> bool:
    """See :class:`Index`; ``marks`` is the number of packets marked as keyframes."""
    if marks != sum(packet.is_entry for packet in packets):
        return False
    first = None
    for packet in reversed(packets):
        if not packet.is_shown or (packet.is_entry and first is not None and first < packet.pts):
            return False
        first = packet.pts if first is None else min(first, packet.pts)
    return True


def doubt_about(packets: Sequence[Packet], context: Any) -> str:
    """Say why the packets' times don't number the frames, or nothing when they do.

    Args:
        packets: All packets in the order of the file.
        context: PyAV's codec context of their stream.
    """
    times = [packet.pts for packet in packets if packet.is_shown]
    if not times:
        return "no packet is shown"
    if len(set(times)) < len(times):
        return "two packets carry the same time"
    if not packets[0].is_entry or min(packet.pts for packet in packets) < packets[0].pts:
        return "it begins inside a group of frames"
    # Before version 18 PyAV doesn't tell.
    order = getattr(context, "field_order", None)
    if context.codec.canonical_name == "h264" and order not in _WHOLE_PICTURES:
        return "it may be interlaced, and a packet half a frame"
    depth = context.reorder_depth
    if depth and len(times) > 1 and all(a < b for a, b in zip(times, times[1:], strict=False)):
        return "its times follow the order of decoding, its frames another"
    if not _comes_out_sorted(packets, depth):
        return "its times ask for another order than the decoder's"
    return ""


def _comes_out_sorted(packets: Sequence[Packet], depth: int) -> bool:
    """Whether a decoder that holds back ``depth`` frames can give them in the order of times."""
    held: list[int] = []
    last = None
    for packet in packets:
        if len(held) < depth:
            heapq.heappush(held, packet.pts)
            continue
        out = heapq.heappushpop(held, packet.pts)
        if last is not None and out < last:
            return False
        last = out
    return True
