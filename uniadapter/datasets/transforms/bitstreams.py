"""What the first bytes of a packet say: is it a frame, and may decoding begin at it?

A container's mark of a keyframe is not enough: H.264 with open groups or with gradual refresh has
marked frames behind which others look further back. One class a codec; all are conservative and
name a doubt where a packet is not what they expect.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class PacketView:
    """Looks at the packets of one stream; as it stands, for codecs without prediction.

    Args:
        context: PyAV's codec context of the stream.

    Attributes:
        doubt: Why the packets are not frames one by one; empty as long as they are.
        looks_at_all: Whether packets that aren't marked as keyframes are of interest, too.
    """

    looks_at_all = False

    def __init__(self, context: Any = None) -> None:
        self.doubt = ""
        self.extradata = bytes(getattr(context, "extradata", None) or b"")

    def look(self, packet: Any) -> tuple[bool, bool]:
        """Return whether decoding may begin at the packet, and whether it is a frame to show."""
        return packet.is_keyframe, True


class Vp8View(PacketView):
    """VP8: a bit says whether the frame is shown; behind a keyframe nothing looks back."""

    looks_at_all = True

    def look(self, packet: Any) -> tuple[bool, bool]:
        """See :meth:`PacketView.look`."""
        return packet.is_keyframe, bool(memoryview(packet)[0] & 0x10)


class Vp9View(PacketView):
    """VP9: hidden frames come in one packet with the next shown one, or alone."""

    looks_at_all = True

    def look(self, packet: Any) -> tuple[bool, bool]:
        """See :meth:`PacketView.look`."""
        data = memoryview(packet)
        together = data[-1] & 0xE0 == 0xC0
        # Behind the marker of 2 bits and the profile of 2, or 3 in profile 3: shows an earlier
        # frame, type, is shown.
        flags = data[0] << 1 if data[0] & 0x30 == 0x30 else data[0]
        return packet.is_keyframe, together or bool(flags & 0x0A)


class Mpeg4View(PacketView):
    """MPEG-4 part 2: a packet is one frame unless it packs two, or says "as before"."""

    looks_at_all = True
    #: A frame that is not coded ends behind its header.
    shortest = 16

    def look(self, packet: Any) -> tuple[bool, bool]:
        """See :meth:`PacketView.look`."""
        data = bytes(packet)
        start = data.find(b"\0\0\1\xb6")
        if len(data) < self.shortest or start < 0 or data.find(b"\0\0\1\xb6", start + 4) >= 0:
            self.doubt = "a packet of MPEG-4 may hold no frame or two"
        return packet.is_keyframe and data[start + 4 : start + 5] < b"\x40", True


class _UnitsView(PacketView):
    """H.264 and H.265: packets are lists of units, each behind its length."""

    length_at: int
    parameter_sets: range

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self.parameters: list[bytes] | None = None
        if len(self.extradata) <= self.length_at or self.extradata[0] != 1:
            self.doubt = "its units have no lengths"
        else:
            self.length = (self.extradata[self.length_at] & 3) + 1

    def type_of(self, header: int) -> int:
        """Type of a unit, from its first byte."""
        raise NotImplementedError

    def is_picture(self, kind: int) -> bool:
        """Whether a unit is part of a picture."""
        raise NotImplementedError

    def is_entry(self, kind: int) -> bool:
        """Whether decoding may begin at a picture of such units."""
        raise NotImplementedError

    def look(self, packet: Any) -> tuple[bool, bool]:
        """See :meth:`PacketView.look`."""
        if self.doubt:
            return False, True
        parameters = []
        kind = -1
        for unit in self.units(bytes(packet)):
            kind = self.type_of(unit[0])
            if self.is_picture(kind):
                break
            if kind in self.parameter_sets and unit not in self.extradata:
                parameters.append(unit)
        # Behind a change of the parameters the frames depend on where the decoder has been.
        if self.parameters is not None and self.parameters != parameters:
            self.doubt = "the parameters of its frames change on the way"
        if packet.has_sidedata("new_extradata"):
            self.doubt = "the parameters of its frames change on the way"
        self.parameters = parameters
        return self.is_picture(kind) and self.is_entry(kind), True

    def units(self, data: bytes) -> Iterator[bytes]:
        """Units of a packet that aren't empty; stops at a length that runs past the end."""
        at = 0
        while at + self.length < len(data):
            size = int.from_bytes(data[at : at + self.length], "big")
            at += self.length
            if size:
                yield data[at : at + size]
            at += size


class H264View(_UnitsView):
    """H.264: behind an IDR picture nothing looks back."""

    length_at = 4
    parameter_sets = range(7, 9)

    def type_of(self, header: int) -> int:
        """See :class:`_UnitsView`."""
        return header & 31

    def is_picture(self, kind: int) -> bool:
        """See :class:`_UnitsView`."""
        return 1 <= kind <= 5

    def is_entry(self, kind: int) -> bool:
        """See :class:`_UnitsView`."""
        return kind == 5


class HevcView(_UnitsView):
    """H.265: frames shown after an entry picture don't look behind it; leading ones may."""

    length_at = 21
    parameter_sets = range(32, 35)

    def type_of(self, header: int) -> int:
        """See :class:`_UnitsView`."""
        return header >> 1 & 63

    def is_picture(self, kind: int) -> bool:
        """See :class:`_UnitsView`."""
        return 0 <= kind < 32

    def is_entry(self, kind: int) -> bool:
        """See :class:`_UnitsView`."""
        # Behind a broken link the decoder drops frames.
        if 16 <= kind <= 18:
            self.doubt = "it was spliced, and frames at a splice are dropped"
        return 16 <= kind <= 21


VIEWS: dict[str, type[PacketView]] = {
    "h264": H264View,
    "hevc": HevcView,
    "vp8": Vp8View,
    "vp9": Vp9View,
    "av1": PacketView,
    "mpeg4": Mpeg4View,
}
