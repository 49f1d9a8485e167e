"""Which frames of a video are on screen at given times."""

from __future__ import annotations

import math

import numpy as np

#: No video shows more frames a second, so that more can only be a slip.
MAX_FPS = 1000
#: Times are rounded: a frame that comes this share of a stretch behind its middle counts as there.
TOLERANCE = 1e-3


def choose_frames(spans: np.ndarray, fps: float | None) -> np.ndarray:
    """Choose the frames that are on screen at the middles of equal stretches of time.

    Args:
        spans: (N, 2), the seconds at which each frame comes and goes.
        fps: Stretches a second; None for all frames, whatever their times.

    Returns:
        Ascending frame numbers, at least one. Where the video has fewer frames a second than
        asked for, each is there once.

    Raises:
        ValueError: When the times don't tell which frame is on screen; the message says why.
    """
    if fps is None:
        return np.arange(len(spans))
    fault = fault_of_times(spans)
    if fault:
        raise ValueError(fault)
    comes = spans[:, 0].astype(np.float64)
    # A last frame without a length is on screen for no time at all.
    duration = max(float(spans[-1, 1]), comes[-1]) - comes[0]
    count = max(1, round(duration * fps))
    if not duration:
        return np.zeros(1, dtype=np.int64)
    # Middles before each frame comes. They are counted, not listed: their number has no bound.
    places = (comes - comes[0]) / duration * count - 0.5 - TOLERANCE
    before = np.append(np.ceil(places).clip(0, count), count)
    return np.flatnonzero(np.diff(before) > 0)


def fault_of_times(spans: np.ndarray) -> str | None:
    """Say what is wrong with the times of frames, if they don't ascend from one to the next."""
    comes = spans[:, 0].astype(np.float64).tolist()
    broken = np.flatnonzero(~np.isfinite(comes))
    if len(broken):
        return f"frame {broken[0]} comes at {comes[broken[0]]} s"
    late = np.flatnonzero(np.diff(comes) <= 0)
    if len(late):
        at = int(late[0])
        return f"frame {at + 1} comes at {comes[at + 1]} s, frame {at} at {comes[at]} s"
    end = float(spans[-1, 1])
    if not math.isfinite(end) or not math.isfinite((end - comes[0]) * MAX_FPS):
        return f"the last frame goes at {end} s, the first comes at {comes[0]} s"
    return None
