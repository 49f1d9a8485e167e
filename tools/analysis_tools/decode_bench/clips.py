"""Videos to measure on, of the size and length of MSR-VTT's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

FPS = 30
#: Seconds between two cuts.
SHOT_SECONDS = 5


def write_clips(
    folder: Path, count: int, seconds: tuple[float, float], size: tuple[int, int], keyint: int
) -> str:
    """Write MP4 videos of textured pictures that move, with grain and a cut every few seconds.

    Args:
        folder: Where to write.
        count: Number of videos.
        seconds: Length of the shortest and the longest; the others lie evenly between.
        size: (width, height) in pixels.
        keyint: Most frames from one keyframe to the next, where the encoder can be told.

    Returns:
        What encoded them.

    Raises:
        OSError: When there is no encoder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    encode, encoder = _encoder()
    for number, length in enumerate(np.linspace(*seconds, count)):
        frames = max(1, round(length * FPS))
        encode(folder / f"clip{number:03d}.mp4", number, frames, size, keyint)
    return encoder


def draw(seed: int, frames: int, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Draw one frame after the other; (height, width, 3) uint8 RGB."""
    width, height = size
    rng = np.random.default_rng(seed)
    grain = rng.integers(-6, 7, (8, height, width, 3), dtype=np.int16)
    for index in range(frames):
        step = index % (SHOT_SECONDS * FPS)
        if step == 0:
            coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
            scene = cv2.resize(coarse, (2 * width, 2 * height), interpolation=cv2.INTER_CUBIC)
            move = rng.integers(1, 4, 2)
        x, y = step * move[0] % width, step * move[1] % height
        picture = scene[y : y + height, x : x + width].astype(np.int16)
        yield np.clip(picture + grain[index % len(grain)], 0, 255).astype(np.uint8)


def _encoder() -> tuple[Callable[..., None], str]:
    try:
        import av

        av.codec.Codec("libx264", "w")
    except (ImportError, ValueError):
        return _encode_opencv, "OpenCV, MPEG-4, its own keyframe interval"
    return _encode_av, "libx264, preset medium, crf 23"


def _encode_av(path: Path, seed: int, frames: int, size: tuple[int, int], keyint: int) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=FPS, options={"preset": "medium", "crf": "23"}
        )
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.gop_size = keyint
        for frame in draw(seed, frames, size):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def _encode_opencv(path: Path, seed: int, frames: int, size: tuple[int, int], keyint: int) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), FPS, size)
    if not writer.isOpened():
        raise OSError(f"{path} can't be written: install av, or an OpenCV that encodes MPEG-4.")
    for frame in draw(seed, frames, size):
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
