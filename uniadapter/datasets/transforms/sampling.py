"""Which frames of a video are looked at: uniform segment sampling (section 4 of the method)."""

from __future__ import annotations

import numpy as np

SAMPLING_MODES = ("center", "random")


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
