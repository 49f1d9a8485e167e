"""Which frames of a video are looked at: uniform segment sampling (section 4 of the method)."""

from __future__ import annotations

import numpy as np

SAMPLING_MODES = ("center", "random")


def sample_seconds(length: int, rate: float, max_frames: int) -> np.ndarray:
    """Pick the first frame of every second, and evenly among these where they are too many.

    As CLIP4Clip: a second has ``int(rate)`` frames, whatever is behind the point, and of n seconds
    the ``linspace(0, n - 1, max_frames)``-th are taken, cut to whole numbers.

    Args:
        length: Frames of the video, at least 1.
        rate: Frames a second; below 1 every frame is a second.
        max_frames: Most frames to pick, at least 1.

    Returns:
        (n,) int64 frame numbers, ascending, n at most ``max_frames``.

    Raises:
        ValueError: For a length or number below 1, or a rate that is not above 0.
    """
    if length < 1 or max_frames < 1 or not 0 < rate < float("inf"):
        raise ValueError(
            f"Sampling by seconds needs a frame and a rate: length = {length}, rate = {rate}, "
            f"max_frames = {max_frames}."
        )
    seconds = np.arange(0, length, max(1, int(rate)), dtype=np.int64)
    if len(seconds) <= max_frames:
        return seconds
    return seconds[np.linspace(0, len(seconds) - 1, num=max_frames, dtype=np.int64)]


def sample_frames(length: int, num_frames: int, mode: str) -> np.ndarray:
    """Pick one frame from each of ``num_frames`` segments of equal length.

    Segment i covers [i * length / num_frames, (i + 1) * length / num_frames) on the axis of frame
    numbers. ``'center'`` takes its middle, ``'random'`` a uniform offset of its own per segment,
    drawn from numpy's global generator. A video shorter than ``num_frames`` has segments of less
    than a frame, so frames are repeated.

    Args:
        length: Frames of the video, at least 1.
        num_frames: Frames to pick, at least 1.
        mode: One of :data:`SAMPLING_MODES`.

    Returns:
        (num_frames,) int64 frame numbers, never decreasing, in [0, length).

    Raises:
        ValueError: For a length or number below 1 or an unknown mode.
    """
    if length < 1 or num_frames < 1:
        raise ValueError(
            f"Sampling needs at least one frame: length = {length}, num_frames = {num_frames}."
        )
    segments = np.arange(num_frames, dtype=np.int64)
    if mode == "center":
        # Whole numbers only: a float quotient may round up past the segment.
        return (2 * segments + 1) * length // (2 * num_frames)
    if mode == "random":
        offsets = np.random.random_sample(num_frames)
        frames = np.floor((segments + offsets) * length / num_frames).astype(np.int64)
        return np.minimum(frames, length - 1)
    raise ValueError(f"sampling must be one of {SAMPLING_MODES}, got {mode!r}.")
