from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest


def write_video(
    path: Path,
    num_frames: int = 12,
    width: int = 64,
    height: int = 48,
    durations: Sequence[int] = (40,),
    codec: str = "libx264",
    faststart: bool = False,
) -> Path:
    """Write a video of moving stripes; ``durations`` are milliseconds, repeated over the frames."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    picture = noise.repeat(4, 0).repeat(4, 1)[:height, :width]
    options = {"movflags": "faststart"} if faststart else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        time = 0
        for index in range(num_frames):
            moved = np.ascontiguousarray(np.roll(picture, index * 2, axis=1))
            frame = av.VideoFrame.from_ndarray(moved, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            time += durations[index % len(durations)]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture
def make_video() -> Callable[..., Path]:
    return write_video


@pytest.fixture(scope="session")
def video_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three good videos, video0 to video2, one empty (video3) and one truncated (video4)."""
    folder = tmp_path_factory.mktemp("media")
    for index in range(3):
        write_video(folder / f"video{index}.mp4", num_frames=5 + index)
    (folder / "video3.mp4").touch()
    whole = write_video(folder / "whole.mp4", num_frames=30, faststart=True)
    data = whole.read_bytes()
    (folder / "video4.mp4").write_bytes(data[: len(data) * 2 // 3])
    whole.unlink()
    return folder
