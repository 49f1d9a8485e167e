from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.helpers import draws
from uniadapter.datasets import MediaError
from uniadapter.datasets.transforms import (
    LoadSeconds,
    VideoCenterCrop,
    open_media,
    sample_seconds,
)


def by_hand(length: int, rate: float, most: int) -> list[int]:
    """Second by second until reading fails, then even steps cut to whole numbers."""
    found, second, step = [], 0, max(1, int(rate))
    while second * step < length:
        found.append(second * step)
        second += 1
    if len(found) > most:
        # In numpy's own floating point, in which a whole number may fall short of itself.
        found = [found[int(place)] for place in np.linspace(0, len(found) - 1, most)]
    return found


@settings(max_examples=draws(60), deadline=None)
@given(
    length=st.integers(1, 4000),
    rate=st.sampled_from([0.5, 1.0, 3.0, 10.0, 23.976, 25.0, 29.97, 30.0, 59.94]),
    most=st.integers(1, 20),
)
def test_seconds(length, rate, most):
    found = sample_seconds(length, rate, most)
    assert found.tolist() == by_hand(length, rate, most)
    assert len(found) <= most
    assert found[0] == 0


@pytest.mark.parametrize("bad", [(0, 3.0, 1), (5, 0.0, 1), (5, float("inf"), 1), (5, 3.0, 0)])
def test_bad_numbers(bad):
    with pytest.raises(ValueError, match="by seconds"):
        sample_seconds(*bad)


def write(
    path: Path, frames: int, rate: Any, codec: str = "libx264", times: list[int] | None = None
) -> Path:
    """A video whose frames differ, each behind the other or at times in units of the rate."""
    options = {"bf": "0"} if codec == "libx264" else {}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        for index in range(frames):
            picture = np.full((24, 32, 3), 10 * index % 256, dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = index if times is None else times[index]
            frame.time_base = 1 / Fraction(rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("backend", ["av", "decord"])
@pytest.mark.parametrize(
    ("frames", "rate"), [(7, 3), (40, 3), (61, Fraction(30000, 1001)), (1, 25)]
)
def test_frames_are_those_of_opencv(frames, rate, backend, tmp_path):
    path = write(tmp_path / "v.mp4", frames, rate)
    capture = cv2.VideoCapture(str(path))
    step, seen = int(capture.get(cv2.CAP_PROP_FPS)), 0
    while capture.read()[0]:
        seen += 1
    capture.release()
    found = LoadSeconds(12, backend={"type": backend})({"media_path": str(path)})
    wanted = by_hand(seen, step, 12)
    assert found["frame_indices"].tolist() == wanted
    assert np.array_equal(found["frames"], open_media(str(path), "av").get_frames(wanted))


@settings(max_examples=draws(10), deadline=None)
@given(
    kind=st.sampled_from(
        [("mp4", "libx264"), ("mkv", "libx264"), ("avi", "mpeg4"), ("webm", "libvpx")]
    ),
    rate=st.sampled_from([3, 15, 25, Fraction(25, 2), Fraction(30000, 1001), Fraction(59, 2)]),
    steps=st.lists(st.integers(1, 3), min_size=2, max_size=60),
)
@example(kind=("mp4", "libx264"), rate=25, steps=[1, 3, 1, 3, 2] * 8)
def test_seconds_of_uneven_frames_are_those_of_opencv(kind, rate, steps, tmp_path_factory):
    """Where frames are unevenly spaced the rate is their average, in any container."""
    times = np.cumsum([0, *steps[1:]]).tolist()
    path = tmp_path_factory.mktemp("uneven") / f"v.{kind[0]}"
    write(path, len(steps), rate, kind[1], times)
    capture = cv2.VideoCapture(str(path))
    step, seen = int(capture.get(cv2.CAP_PROP_FPS)), 0
    while capture.read()[0]:
        seen += 1
    capture.release()
    found = LoadSeconds(12, backend={"type": "av"})({"media_path": str(path)})
    assert found["frame_indices"].tolist() == by_hand(seen, step, 12)


def test_pictures_and_folders_of_frames(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(9):
        Image.new("RGB", (6, 4), (index, 0, 0)).save(folder / f"{index}.png")
    with pytest.raises(MediaError, match="rate"):
        LoadSeconds()({"media_path": str(folder)})
    found = LoadSeconds(rate=3)({"media_path": str(folder)})["frames"]
    assert found[:, 0, 0, 0].tolist() == [0, 3, 6]
    single = LoadSeconds()({"media_path": str(folder / "4.png")})
    assert len(single["frames"]) == 1
    for options in ({"max_frames": 0}, {"rate": 0}, {"backend": {"type": "none"}}):
        with pytest.raises(ValueError, match="LoadSeconds"):
            LoadSeconds(**options)


@settings(max_examples=draws(15), deadline=None)
@given(height=st.integers(4, 60), width=st.integers(4, 60), size=st.integers(2, 30))
def test_the_crop_is_torchvisions(height, width, size):
    transforms = pytest.importorskip("torchvision.transforms")
    rng = np.random.default_rng(height * 100 + width)
    frames = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    bicubic = transforms.InterpolationMode.BICUBIC
    theirs = transforms.Compose(
        [transforms.Resize(size, interpolation=bicubic), transforms.CenterCrop(size)]
    )
    found = VideoCenterCrop(size)({"frames": frames})["frames"]
    assert found.shape == (2, size, size, 3)
    for frame, one in zip(frames, found, strict=True):
        assert np.array_equal(np.asarray(theirs(Image.fromarray(frame))), one)


def test_the_crop_takes_one_number():
    with pytest.raises(ValueError, match="VideoCenterCrop"):
        VideoCenterCrop((3, 4))
