"""Shots of videos, and their frames as a model takes them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from uniadapter.apis.inputs import InputReader
from uniadapter.datasets import MediaError
from uniadapter.datasets.transforms import ArrayBackend, VideoBackend, open_media
from uniadapter.datasets.transforms.sampling import sample_frames

from .hits import Kind

#: Times are rounded: a frame that comes this many seconds before a shot begins counts as its.
_EARLY = 1e-6
#: Seconds of the shortest shots that may be asked for.
LEAST_SHOT = 0.01


class Cut(NamedTuple):
    """A shot of a video.

    Attributes:
        start: Where it begins, in seconds from the first frame.
        end: Where it ends.
        first: Its first frame.
        stop: The first frame behind it.
    """

    start: float
    end: float
    first: int
    stop: int


def cut_shots(spans: np.ndarray, seconds: float) -> list[Cut]:
    """Cut a video into shots of equal length.

    What is left at the end is a shot of its own if it is at least half as long as the others, and
    belongs to the last of them otherwise. A stretch in which no frame comes belongs to the shot
    before it.

    Args:
        spans: (N, 2), the seconds at which each of its frames comes and goes, N at least 1.
        seconds: Length of a shot.

    Returns:
        At least one shot; together they have every frame once.
    """
    comes = spans[:, 0].astype(np.float64) - float(spans[0, 0])
    duration = max(float(spans[-1, 1] - spans[0, 0]), float(comes[-1]))
    count = max(1, int(np.floor(duration / seconds + 0.5)))
    edges = np.append(np.arange(count) * seconds, duration)
    firsts = np.searchsorted(comes, edges[:-1] - _EARLY).tolist()
    stops = [*firsts[1:], len(comes)]
    shots: list[Cut] = []
    for start, end, first, stop in zip(edges, edges[1:], firsts, stops, strict=False):
        if first < stop or not shots:
            shots.append(Cut(float(start), float(end), first, stop))
        else:
            shots[-1] = shots[-1]._replace(end=float(end))
    return shots


class Window(VideoBackend):
    """Some frames of a medium that is open, as a medium of their own.

    Args:
        medium: The medium.
        first: The first frame.
        stop: The first frame behind them.
        rate: Frames a second where the medium says nothing.

    Attributes:
        taken: The medium's numbers of the frames that were read last.
    """

    def __init__(
        self, medium: VideoBackend, first: int, stop: int, rate: float | None = None
    ) -> None:
        self.path, self._medium, self._rate = medium.path, medium, rate
        self._first, self._stop = first, stop
        self.taken: list[int] = []

    @property
    def rate(self) -> float | None:
        """See :attr:`VideoBackend.rate`."""
        return self._medium.rate or self._rate

    def __len__(self) -> int:
        return self._stop - self._first

    def get_frames(self, indices: Sequence[int]) -> np.ndarray:
        """See :meth:`VideoBackend.get_frames`."""
        self.taken = [self._first + number for number in self.check_indices(indices)]
        return self._medium.get_frames(self.taken)


class ReadShot(NamedTuple):
    """A shot as a model takes it.

    Attributes:
        start: Where it begins, in seconds from the first frame of the file.
        end: Where it ends.
        times: (N,) float32 times of its frames, in seconds from ``start``.
        frames: (N, 3, H, W) uint8.
    """

    start: float
    end: float
    times: np.ndarray
    frames: np.ndarray


@dataclass(frozen=True)
class ReadOptions:
    """How files become shots.

    Attributes:
        shot_seconds: Length of a shot.
        frame_rate: Folders that hold pictures alone are videos of so many frames a second; None:
            the pictures are pictures.
    """

    shot_seconds: float = 10.0
    frame_rate: float | None = None

    def __post_init__(self) -> None:
        # Shorter ones than a frame of any video would only fill the memory.
        if not LEAST_SHOT <= self.shot_seconds < float("inf"):
            raise ValueError(
                f"A shot is longer than 0 seconds, {LEAST_SHOT} at least, got {self.shot_seconds}."
            )
        if self.frame_rate is not None and not 0 < self.frame_rate < float("inf"):
            raise ValueError(f"Frames a second are more than 0, got {self.frame_rate}.")


def read_shots(
    reader: InputReader, path: str, kind: Kind, options: ReadOptions
) -> Iterator[ReadShot]:
    """The shots of a file, one in memory at a time.

    Args:
        reader: Of the model's config.
        path: A video, a picture, or a folder of frames.
        kind: Which of them.
        options: How it is cut.

    Raises:
        MediaError: If it can't be read.
    """
    if kind == "image":
        frames = reader.image_frames(path).numpy()
        yield ReadShot(0.0, 0.0, np.zeros(len(frames), np.float32), frames)
        return
    medium = open_media(path)
    spans = _spans_of(medium, options.frame_rate)
    for shot in cut_shots(spans, options.shot_seconds):
        window = Window(medium, shot.first, shot.stop, options.frame_rate)
        frames = window_frames(reader, window).numpy()
        times = spans[window.taken, 0] - spans[0, 0] - shot.start
        yield ReadShot(shot.start, shot.end, times.astype(np.float32), frames)


def window_frames(reader: InputReader, window: VideoBackend) -> Tensor:
    """Frames (N, 3, H, W) of a part of a video; its middle one where a model sees pictures."""
    if not reader.only_pictures:
        return reader.frames_of(window)
    middle = sample_frames(len(window), 1, "center").tolist()
    return reader.frames_of(ArrayBackend(window.get_frames(middle), window.path))


def query_frames(reader: InputReader, medium: Any, kind: Kind) -> Tensor:
    """Frames (N, 3, H, W) of a medium as a whole, see :mod:`uniadapter.apis.inputs`."""
    if kind == "image":
        return reader.image_frames(medium)
    if reader.only_pictures and isinstance(medium, str | os.PathLike):
        return window_frames(reader, open_media(os.fspath(medium)))
    return reader.video_frames(medium)


def _spans_of(medium: VideoBackend, rate: float | None) -> np.ndarray:
    """(N, 2) seconds at which each frame comes and goes."""
    found = getattr(medium, "spans", None)
    if found is not None:
        return np.asarray(found(), np.float64)
    if rate is None and len(medium) > 1:
        raise MediaError(medium.path, "nothing says how many frames a second it has")
    starts = np.arange(len(medium) + 1) / (rate or 1.0)
    return np.stack([starts[:-1], starts[1:]], axis=1)


def stamp_of(path: str) -> tuple | None:
    """What differs when a file, or one in a folder of frames, was changed; None without one."""
    try:
        inside = sorted(os.scandir(path), key=lambda e: e.name) if os.path.isdir(path) else []
        known = [(entry.name, entry.stat()) for entry in inside] or [("", os.stat(path))]
    except OSError:
        return None
    return tuple((name, own.st_ino, own.st_size, own.st_mtime_ns) for name, own in known)


def digest_of(path: str) -> bytes:
    """Digest of a file's content, or of names and contents of all that is in a folder of frames.

    Raises:
        OSError: If it can't be read.
    """
    digest = hashlib.blake2b(digest_size=20)
    inside = [path]
    if os.path.isdir(path):
        inside = sorted(entry.path for entry in os.scandir(path) if entry.is_file())
    for file in inside:
        if file != path:
            name = os.fsencode(os.path.basename(file))
            digest.update(b"%d:%s:%d:" % (len(name), name, os.path.getsize(file)))
        with open(file, "rb") as content:
            while part := content.read(2**20):
                digest.update(part)
    return digest.digest()
