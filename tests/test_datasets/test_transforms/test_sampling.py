from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uniadapter.datasets.transforms import sample_frames

lengths = st.integers(1, 2000)
counts = st.integers(1, 64)


@settings(deadline=None)
@given(lengths, counts, st.sampled_from(["center", "random"]), st.integers(0, 2**32 - 1))
def test_one_frame_of_every_segment(length: int, count: int, mode: str, seed: int) -> None:
    np.random.seed(seed)
    frames = sample_frames(length, count, mode)
    assert frames.shape == (count,)
    assert frames.dtype == np.int64
    assert (np.diff(frames) >= 0).all()
    segments = np.arange(count)
    assert (frames >= segments * length // count).all()
    # The last whole frame that begins before the segment's end.
    assert (frames < -(-(segments + 1) * length // count)).all()
    assert frames[0] >= 0
    assert frames[-1] < length


@settings(deadline=None)
@given(lengths, counts)
def test_center_reaches_both_ends_alike(length: int, count: int) -> None:
    frames = sample_frames(length, count, "center")
    head, tail = frames[0], length - 1 - frames[-1]
    assert abs(int(head) - int(tail)) <= 1
    assert tail <= length / (2 * count)


@settings(deadline=None)
@given(st.integers(1, 64), st.integers(0, 64))
def test_center_shows_every_frame_of_a_short_video(length: int, extra: int) -> None:
    frames = sample_frames(length, length + extra, "center")
    assert set(frames.tolist()) == set(range(length))


def test_known_cases() -> None:
    assert sample_frames(16, 4, "center").tolist() == [2, 6, 10, 14]
    assert sample_frames(10, 4, "center").tolist() == [1, 3, 6, 8]
    assert sample_frames(1, 3, "center").tolist() == [0, 0, 0]
    assert sample_frames(2, 4, "center").tolist() == [0, 0, 1, 1]


def test_random_offsets_differ_and_follow_the_seed() -> None:
    np.random.seed(1)
    first = sample_frames(1000, 8, "random")
    second = sample_frames(1000, 8, "random")
    np.random.seed(1)
    assert (sample_frames(1000, 8, "random") == first).all()
    assert (first != second).any()
    # An offset of its own per segment, not one for all.
    assert len(set((first - np.arange(8) * 125).tolist())) > 1


def test_random_draws_every_frame() -> None:
    np.random.seed(0)
    seen = np.concatenate([sample_frames(9, 3, "random") for _ in range(200)])
    assert set(seen.tolist()) == set(range(9))


@pytest.mark.parametrize(("length", "count"), [(0, 4), (4, 0)])
def test_nothing_to_sample(length: int, count: int) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        sample_frames(length, count, "center")


def test_unknown_mode() -> None:
    with pytest.raises(ValueError, match="sampling must be one of"):
        sample_frames(4, 4, "uniform")
