"""Which frames are extracted: those on screen at even times, and what odd times lead to."""

from __future__ import annotations

import bisect
import json
import math
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.dataset_converters.extract_frames import choose_frames, extract
from uniadapter.datasets.transforms import open_media
from uniadapter.utils.processes import Died, map_in_processes

ALL = {"fps": None, "short_side": None, "image": "png", "quality": None}


def test_frames_are_chosen_by_time() -> None:
    even = np.stack([np.arange(30), np.arange(30) + 1], axis=1) / 10
    assert choose_frames(even, None).tolist() == list(range(30))
    assert choose_frames(even, 1).tolist() == [5, 15, 25]
    assert choose_frames(even, 0.01).tolist() == [15]
    assert choose_frames(even, 100).tolist() == list(range(30))
    # One frame that stays for 9 of 10 seconds, then ten quick ones.
    uneven = np.array([[0, 9]] + [[9 + i / 10, 9.1 + i / 10] for i in range(10)])
    assert choose_frames(uneven, 1).tolist() == [0, 6]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 200), min_size=1, max_size=12),
    st.integers(-1000, 10**9),
    st.sampled_from([0.125, 0.5, 1.0, 3.0, 7.5, 25.0, 100.0]),
)
def test_frames_are_those_on_screen_at_the_middles(
    lengths: list[int], start: int, fps: float
) -> None:
    """Times in 64ths of a second, which are exact, against one middle after the other."""
    comes = [Fraction(start + sum(lengths[:i]), 64) for i in range(len(lengths) + 1)]
    spans = np.array([comes[:-1], comes[1:]], dtype=np.float64).T
    duration = comes[-1] - comes[0]
    count = max(1, round(float(duration) * fps))
    chosen = set()
    for k in range(count):
        middle = comes[0] + (k + Fraction(1, 2)) * duration / count
        # A little after it: what comes on screen just then counts, however its time is rounded.
        middle += duration / count / 1000
        chosen.add(bisect.bisect_right(comes, middle, hi=len(lengths)) - 1)
    assert choose_frames(spans, fps).tolist() == sorted(chosen)
    assert choose_frames(spans + 1e-9, fps).tolist() == sorted(chosen)


def test_frames_of_very_long_videos_are_chosen_without_a_list_of_all_moments() -> None:
    uneven = np.array([[0, 1], [1, 2], [2, 1e15], [1e15, 1e15 + 1]])
    assert choose_frames(uneven, 3).tolist() == [0, 1, 2, 3]
    assert choose_frames(uneven, 1e-15).tolist() == [2]
    assert choose_frames(np.array([[5.0, 5.0]]), 3).tolist() == [0]
    # On screen for no time at all, as some containers have it.
    assert choose_frames(np.array([[0, 1], [1, 1.0]]), 4).tolist() == [0]


NAN, INF = math.nan, math.inf
BROKEN_TIMES = [
    ([[0, 1], [NAN, 2]], "frame 1 comes at nan s"),
    ([[INF, INF]], "frame 0 comes at inf s"),
    ([[-INF, 0], [0, 1]], "frame 0 comes at -inf s"),
    ([[0, 1], [3, 4], [2, 3]], "frame 2 comes at 2.0 s, frame 1 at 3.0 s"),
    ([[1, 2], [1, 2]], "frame 1 comes at 1.0 s, frame 0 at 1.0 s"),
    ([[0, 1], [1, INF]], "the last frame goes at inf s"),
    ([[0, 1], [1, NAN]], "the last frame goes at nan s"),
    ([[-1e308, 0], [0, 1e308]], r"the last frame goes at 1e\+308 s, the first comes at -1e\+308 s"),
]


@pytest.mark.parametrize(("times", "message"), BROKEN_TIMES)
def test_times_that_say_nothing_are_a_fault(times: list[list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose_frames(np.array(times), 1.0)
    assert choose_frames(np.array(times), None).tolist() == list(range(len(times)))


def with_times(path: Path, times: list[int]) -> Path:
    """A video whose packets carry these times of presentation, in hundredths of a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=100)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for place, time in enumerate(times):
            picture = np.full((48, 64, 3), 10 + 40 * place, dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            for packet in stream.encode(frame.reformat(format="yuvj420p")):
                packet.pts, packet.dts, packet.time_base = (
                    time,
                    min(times) + place,
                    Fraction(1, 100),
                )
                container.mux(packet)
    return path


@pytest.mark.parametrize(
    "times",
    [
        [0, 10, 20, 30, 40],
        [40, 30, 20, 10, 5],
        [0, 0, 0, 0, 0],
        [0, 10, 20, 30, 2**31],
        [2**40, 2**40 + 10, 2**40 + 20, 2**40 + 30, 2**40 + 40],
        [0, 30, 20, 10, 40],
    ],
)
@pytest.mark.parametrize("kind", ["mkv", "mov", "avi"])
def test_odd_times_in_files(tmp_path: Path, times: list[int], kind: str) -> None:
    """Whatever the times: right frames and a bounded number, or a fault; never an exception."""
    try:
        video = with_times(tmp_path / f"a.{kind}", times)
    except av.error.FFmpegError:
        pytest.skip("the container can't hold such times")
    for name, fps in (("all", None), ("some", 2.0)):
        # In a process of its own: such files have ended their reader's.
        task = (str(video), str(tmp_path / name), {**ALL, "fps": fps}, False)
        (result,) = map_in_processes(extract, [task], 1, "")
        if isinstance(result, Died) or result["state"] == "fault":
            assert not (tmp_path / name).exists()
            continue
        index = json.loads((tmp_path / name / "frames.json").read_text())
        numbers = index["numbers"]
        assert numbers == sorted(set(numbers))
        assert fps or numbers == list(range(len(times)))
        frames = open_media(str(tmp_path / name)).get_frames(range(len(numbers)))
        assert np.abs(frames[:, 20, 20, 0].astype(int) - 10 - 40 * np.array(numbers)).max() <= 2
