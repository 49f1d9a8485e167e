"""Reads foreign media and makes previews, in a process that may die of them.

Run by :mod:`.worker_pool` as a program of its own, which imports nothing of the package and so
starts at once: a line of JSON names a job and its arguments, a line answers.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import warnings
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import av
from PIL import Image, ImageOps

#: Encoders whose videos browsers play, the one that most of them play first; and their endings.
ENCODERS = {"libx264": ".mp4", "libvpx-vp9": ".webm", "libvpx": ".webm"}
_OPTIONS = {
    "libx264": {"preset": "veryfast", "crf": "25", "profile": "main"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "34", "b": "0"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8", "crf": "12", "b": "1500000"},
}
#: Of names of container formats, codecs and pixel formats, what browsers play as it is.
_PLAYED = {"mp4": {"h264", "vp9", "av1"}, "webm": {"vp8", "vp9", "av1"}}
_PLAYED_AUDIO = {"aac", "mp3", "opus", "vorbis", "flac"}
_PLAYED_PIXELS = {"yuv420p", "yuvj420p"}
_PICTURE_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
#: Formats that hold their media themselves: playlists would have other files read.
_CONTAINERS = "mov,matroska,avi,mpeg,mpegts,mpegvideo,flv,ogg,gif,asf,mxf,nut,ivf,dv,rm,m4v"
_OPENED = {"protocol_whitelist": "file", "format_whitelist": _CONTAINERS}
_MEMORY = 4 * 2**30
_CLOCK = 90_000
_BT601 = 6
_MOST_FRAMES_A_SECOND = 30


def encoder() -> str | None:
    """The encoder that previews are made with; None where this build of FFmpeg has none."""
    for name in ENCODERS:
        try:
            av.codec.Codec(name, "w")
        except av.FFmpegError:
            continue
        return name
    return None


def open_video(path: str) -> Any:
    """Open a file that holds a video; nothing but that file is read for it.

    Raises:
        ValueError: If it can't be read, or holds none.
    """
    try:
        container = av.open(path, options=_OPENED)
    except (av.FFmpegError, OSError) as error:
        raise ValueError(f"it can't be opened as a video ({error.strerror})") from error
    if not container.streams.video:
        container.close()
        raise ValueError("it holds no video")
    container.streams.video[0].thread_type = "AUTO"
    return container


def played_as_it_is(container: Any) -> bool:
    """Whether browsers play a file without more ado."""
    video = container.streams.video[0].codec_context
    names = set(container.format.name.split(","))
    if names >= {"matroska", "webm"}:
        # FFmpeg knows the two as one format; the ending says what is meant.
        names = {"webm"} if container.name.lower().endswith(".webm") else set()
    sounds = {stream.codec_context.name for stream in container.streams.audio}
    return (
        any(video.name.removeprefix("lib") in _PLAYED.get(name, ()) for name in names)
        and video.pix_fmt in _PLAYED_PIXELS
        and all(sound.removesuffix("float") in _PLAYED_AUDIO for sound in sounds)
    )


class Timed(NamedTuple):
    """A frame and the second, from the first frame on, from which it is shown."""

    seconds: float
    frame: Any
    aspect: float


def frames_from(path: str, start: float) -> Iterator[Timed]:
    """Frames of a video from a time on, or a little before; times count from its first frame.

    Raises:
        ValueError: If there is none.
    """
    with open_video(path) as container:
        frames = _decoded(container)
        first = next(frames, None)
        if first is None:
            raise ValueError("no frame of it can be decoded")
        if start <= 1.0:
            yield first._replace(seconds=0.0)
            yield from _since(first.seconds, frames)
            return
        # A second more than needed: some formats land behind what was asked for.
        if _seek(container, first.seconds + start - 1.0):
            frames = _decoded(container)
            found = next(frames, None)
            if found is not None and found.seconds - first.seconds <= start:
                yield from _since(first.seconds, iter([found]))
                yield from _since(first.seconds, frames)
                return
    with open_video(path) as container:
        yield from _since(first.seconds, _decoded(container))


def frames_of_folder(folder: str, names: list[str], rate: float, start: float) -> Iterator[Timed]:
    """As :func:`frames_from`, of a folder of pictures, ``rate`` a second."""
    for number in range(max(0, int(start * rate) - 1), len(names)):
        with Image.open(os.path.join(folder, names[number])) as opened:
            shown = ImageOps.exif_transpose(opened).convert("RGB")
        yield Timed(number / rate, av.VideoFrame.from_image(shown), 1.0)


def _frames(source: str, start: float, names: list[str] | None, rate: float) -> Iterator[Timed]:
    if names is None:
        return frames_from(source, start)
    return frames_of_folder(source, names, rate, start)


def _since(origin: float, frames: Iterator[Timed]) -> Iterator[Timed]:
    for timed in frames:
        yield timed._replace(seconds=timed.seconds - origin)


def _seek(container: Any, seconds: float) -> bool:
    try:
        container.seek(int(seconds * av.time_base), backward=True)
    except av.FFmpegError:
        return False
    return True


def _decoded(container: Any) -> Iterator[Timed]:
    """Frames up to the end, or to where the file is damaged."""
    stream = container.streams.video[0]
    aspect = float(stream.sample_aspect_ratio or 1)
    pace = float(stream.average_rate or 25)
    try:
        for number, frame in enumerate(container.decode(stream)):
            # Streams without times of their own are shown at a steady pace.
            yield Timed(number / pace if frame.time is None else frame.time, frame, aspect)
    except (av.FFmpegError, OSError):
        return


def upright(timed: Timed, side: int) -> Image.Image:
    """A frame as it is to be shown, no larger than a side, its width and height even."""
    frame = timed.frame
    width = frame.width * timed.aspect
    shrink = min(1.0, side / max(width, frame.height))
    size = [max(2, 2 * round(length * shrink / 2)) for length in (width, frame.height)]
    picture = frame.reformat(width=size[0], height=size[1], format="rgb24").to_image()
    turned = frame.rotation % 360
    return picture.rotate(turned, expand=True) if turned else picture


def clip(
    source: str,
    target: str,
    start: float,
    end: float,
    side: int,
    names: list[str] | None = None,
    rate: float = 1.0,
) -> dict[str, Any]:
    """Write a part of a video, or of a folder of frames, as one that browsers play; no sound."""
    name = encoder()
    if name is None:
        raise ValueError("this build of PyAV has no encoder for videos that browsers play")
    written, last = 0, -1.0
    with av.open(target, "w", format=ENCODERS[name][1:], options={"movflags": "faststart"}) as out:
        stream: Any = None
        for timed in _frames(source, start, names, rate):
            seconds = timed.seconds
            if seconds >= end:
                break
            if seconds < start - 1e-3 or seconds - last < 0.9 / _MOST_FRAMES_A_SECOND:
                continue
            picture = upright(timed, side)
            if stream is None:
                stream = _new_stream(out, name, picture)
            shown = av.VideoFrame.from_image(picture).reformat(format="yuv420p")
            shown.pts = round((seconds - start) * _CLOCK)
            shown.time_base = Fraction(1, _CLOCK)
            out.mux(stream.encode(shown))
            written, last = written + 1, seconds
        if stream is not None:
            out.mux(stream.encode(None))
    if not written:
        raise ValueError("that part of it can't be decoded")
    return {"frames": written}


def _new_stream(out: Any, name: str, picture: Image.Image) -> Any:
    stream = out.add_stream(name, rate=_MOST_FRAMES_A_SECOND, options=_OPTIONS[name])
    stream.width, stream.height = picture.size
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = Fraction(1, _CLOCK)
    # What RGB becomes here; without a word players guess by the size.
    stream.codec_context.colorspace = _BT601
    stream.codec_context.gop_size = _MOST_FRAMES_A_SECOND
    stream.codec_context.thread_count = 2
    return stream


def still(
    source: str,
    target: str,
    at: float,
    side: int,
    names: list[str] | None = None,
    rate: float = 1.0,
) -> dict[str, Any]:
    """Write the frame that a video shows at a time as a JPEG."""
    chosen = None
    for timed in _frames(source, at, names, rate):
        if chosen is not None and timed.seconds > at + 1e-3:
            break
        chosen = timed
    if chosen is None:
        raise ValueError("no frame of it can be decoded")
    upright(chosen, side).save(target, "JPEG", quality=82)
    return {}


def picture(source: str, target: str, side: int) -> dict[str, Any]:
    """Write a picture, or a smaller one, as a JPEG; what is transparent becomes white."""
    with Image.open(source) as opened:
        opened.draft("RGB", (side, side))
        small = _eight_bits(opened)
        small.thumbnail((side, side), Image.Resampling.LANCZOS)
        shown = ImageOps.exif_transpose(small).convert("RGBA")
    paper = Image.new("RGBA", shown.size, "white")
    Image.alpha_composite(paper, shown).convert("RGB").save(target, "JPEG", quality=85)
    return {}


def _eight_bits(image: Image.Image) -> Image.Image:
    """A picture of 16 bits with 8, as models see it; Pillow cuts values at 255."""
    if not image.mode.startswith("I"):
        return image
    return image.convert("I").point(lambda value: value * (1 / 257) + 0.0).convert("L")


def probe(source: str) -> dict[str, Any]:
    """Whether browsers play a video as it is."""
    with open_video(source) as container:
        return {"native": played_as_it_is(container)}


def check_picture(source: str, pixels: int) -> dict[str, Any]:
    """Read a picture whole.

    Raises:
        ValueError: If it is too large or can't be read.
    """
    try:
        with Image.open(source, formats=_PICTURE_FORMATS) as opened:
            if opened.width * opened.height > pixels:
                raise ValueError(f"it has {opened.width} x {opened.height} pixels, too many")
            opened.load()
            return {"size": list(opened.size)}
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        # Pillow names the file, which is a temporary one.
        said = str(error).replace(source, "the file").replace("'the file'", "the file")
        raise ValueError(f"it can't be read as a picture ({said})") from error


def check_video(source: str, pixels: int, seconds: float) -> dict[str, Any]:
    """Read the first frame of a video.

    Raises:
        ValueError: If it is too large, too long or can't be read.
    """
    with open_video(source) as container:
        stream = container.streams.video[0]
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > pixels:
            raise ValueError(f"its frames have {width} x {height} pixels, too many")
        length = (container.duration or 0) / av.time_base
        if length > seconds:
            raise ValueError(f"it takes {length:.0f} seconds, {seconds:.0f} are allowed")
        if next(_decoded(container), None) is None:
            raise ValueError("no frame of it can be decoded")
        return {"size": [width, height]}


JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    job.__name__: job for job in (clip, still, picture, probe, check_picture, check_video)
}


def main() -> None:
    """Answer jobs until the input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    warnings.simplefilter("ignore")
    # Libraries may write to what was the output: answers have a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    for line in sys.stdin:
        job = json.loads(line)
        answer: dict[str, Any]
        try:
            answer = JOBS[job.pop("job")](**job)
        # Decoders and Pillow's plugins raise whatever comes to them.
        except Exception as error:
            answer = {"error": str(error) or type(error).__name__}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
