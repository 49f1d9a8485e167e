"""Clips drawn over what encoders and containers can do, and a decoding too simple to be wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from hypothesis import reject
from hypothesis import strategies as st

#: Encoders with the containers that take them, and sets of options to draw from.
ENCODERS: dict[str, tuple[tuple[str, ...], tuple[dict[str, str], ...]]] = {
    "libx264": (
        ("mp4", "mkv", "mov", "avi", "mpg", "ts", "flv", "m4v"),
        (
            {},
            {"bf": "0"},
            {"bf": "8", "b-pyramid": "strict"},
            {"x264-params": "open-gop=1:bframes=3"},
            {"x264-params": "intra-refresh=1"},
            {"x264-params": "interlaced=1"},
            {"x264-params": "repeat-headers=1"},
        ),
    ),
    "libx265": (
        ("mp4", "mkv", "ts"),
        (
            {"x265-params": "log-level=none"},
            {"x265-params": "log-level=none:open-gop=0"},
            {"x265-params": "log-level=none:temporal-layers=3"},
        ),
    ),
    "mpeg4": (("mp4", "mkv", "avi", "mpg", "ts", "3gp"), ({}, {"bf": "2"})),
    "mpeg2video": (("mpg", "ts", "mkv", "mp4", "avi"), ({}, {"bf": "2"})),
    "libvpx": (("webm", "mkv"), ({"deadline": "realtime"}, {"auto-alt-ref": "1"})),
    "libvpx-vp9": (("webm", "mp4"), ({"deadline": "realtime", "cpu-used": "8"},)),
    "wmv2": (("wmv", "avi"), ({},)),
    "flv": (("flv",), ({},)),
    "gif": (("gif",), ({},)),
    "mjpeg": (("avi", "mov"), ({},)),
}
_PIXELS = {"gif": "rgb8", "mjpeg": "yuvj420p"}
_TIMED = ("mp4", "mov", "mkv", "webm", "flv", "ts")


@dataclass(frozen=True)
class Clip:
    """How to write a clip.

    Attributes:
        first: Packets left out at the beginning, as by a cut without encoding.
        shift: Milliseconds added to all times.
        gaps: Milliseconds from one frame to the next, in turns; empty for an even rate.
        upset: What is done to the times of the packets: nothing, every fifth comes later by more
            than a frame, or times of decoding are noted for those of presentation.
    """

    encoder: str
    container: str
    options: dict[str, str] = field(hash=False)
    frames: int
    group: int
    width: int
    height: int
    turn: int
    first: int
    shift: int
    gaps: tuple[int, ...]
    upset: str


def fewest(container: str) -> int:
    """Fewest packets: FFmpeg takes the only ones of a transport stream for damaged, or nothing."""
    return 3 if container == "ts" else 1


@st.composite
def clips(draw: st.DrawFn, encoders: tuple[str, ...] = tuple(ENCODERS)) -> Clip:
    """Draw a clip."""
    # Half of them in H.264, of which most videos are.
    encoder = draw(st.sampled_from((*["libx264"] * (len(encoders) - 1), *encoders)))
    container = draw(st.sampled_from(ENCODERS[encoder][0]))
    # MP4 takes no VP9 that begins with a half.
    cuttable = container in _TIMED and encoder != "libvpx-vp9"
    timed = container in _TIMED and encoder not in ("gif", "mjpeg", "wmv2", "mpeg2video")
    return Clip(
        encoder=encoder,
        container=container,
        options=draw(st.sampled_from(ENCODERS[encoder][1])),
        frames=draw(st.integers(fewest(container), 40)),
        group=draw(st.integers(1, 20)),
        # H.265 wants a few blocks, all encoders of YUV even sides, of interlaced video more so.
        width=2 * draw(st.integers(32, 45)),
        height=4 * draw(st.integers(16, 20)),
        turn=draw(st.sampled_from((0, 0, 90, 180, 270))) if container in ("mp4", "mov") else 0,
        first=draw(st.sampled_from((0, 0, 0, 0, 0, 1, 7))) if cuttable else 0,
        shift=draw(st.sampled_from((0, 0, -300, 5000))) if timed else 0,
        gaps=draw(st.sampled_from(((), (), (10, 80, 33)))) if timed else (),
        upset=draw(st.sampled_from(("", "", "", "late", "same"))) if timed else "",
    )


def write_clip(path: Path, clip: Clip) -> Path:
    """Write a moving noisy picture as the clip says; no two frames are alike."""
    try:
        return _write(path, clip)
    except (av.error.PatchWelcomeError, av.error.ArgumentError):
        # Not all that encoders give, less the first packets, fits in all containers.
        reject()


def _write(path: Path, clip: Clip) -> Path:
    rng = np.random.default_rng(clip.frames)
    noise = rng.integers(0, 256, (clip.height // 8 + 1, clip.width // 8 + 1, 3), dtype=np.uint8)
    picture = noise.repeat(8, 0).repeat(8, 1)[: clip.height, : clip.width]
    path = path.with_suffix(f".{clip.container}")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(clip.encoder, rate=Fraction(25), options=clip.options)
        context = stream.codec_context
        stream.width, stream.height = clip.width, clip.height
        stream.pix_fmt = _PIXELS.get(clip.encoder, "yuv420p")
        context.gop_size = clip.group
        if clip.gaps or clip.shift:
            context.time_base = Fraction(1, 1000)
        if clip.turn:
            stream.set_display_rotation(clip.turn)
        skipped, time = 0, clip.shift
        for index in [*range(clip.frames), None]:
            frame = None
            if index is not None:
                moved = np.roll(picture, 3 * index, axis=1) // 2 + np.uint8(3 * index)
                frame = av.VideoFrame.from_ndarray(moved, format="rgb24")
                if clip.gaps or clip.shift:
                    frame.pts, frame.time_base = time, Fraction(1, 1000)
                    time += clip.gaps[index % len(clip.gaps)] if clip.gaps else 40
            for packet in stream.encode(frame):
                if clip.upset == "late" and skipped % 5 == 3:
                    packet.pts += int(Fraction(6, 100) / packet.time_base)
                if clip.upset == "same":
                    packet.pts = packet.dts
                skipped += 1
                if skipped > min(clip.first, clip.frames - fewest(clip.container)):
                    container.mux(packet)
    return path


def decode_plainly(path: Path) -> list[np.ndarray]:
    """Decode a file from its start to its end; (H, W, 3) uint8 frames, turned upright."""
    frames: list[np.ndarray] = []
    try:
        opened = av.open(str(path))
    except av.error.FFmpegError:
        # Too short a stream to tell what it is.
        return frames
    with opened as container:
        for packet in container.demux(video=0):
            try:
                decoded = packet.decode()
            except av.error.InvalidDataError:
                # A cut file begins with packets that nothing can be made of.
                assert not frames
                continue
            for frame in decoded:
                rgb = frame.to_ndarray(format="rgb24")
                frames.append(np.rot90(rgb, frame.rotation // 90))
    return frames
