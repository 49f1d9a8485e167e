from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from uniadapter.datasets import MediaError
from uniadapter.datasets.transforms import LoadVideo


def test_frames_of_a_video(video_folder: Path) -> None:
    path = str(video_folder / "video2.mp4")
    results = LoadVideo(4).transform({"media_path": path})
    assert results["frames"].shape == (4, 48, 64, 3)
    assert results["frame_indices"].tolist() == [0, 2, 4, 6]


def test_more_frames_than_the_video_has(video_folder: Path) -> None:
    results = LoadVideo(12).transform({"media_path": str(video_folder / "video0.mp4")})
    frames, indices = results["frames"], results["frame_indices"]
    assert len(frames) == 12
    for first, second in zip(range(11), range(1, 12), strict=True):
        same = np.array_equal(frames[first], frames[second])
        assert same == (indices[first] == indices[second])


def test_random_sampling_follows_numpys_generator(video_folder: Path) -> None:
    load = LoadVideo(2, sampling="random")
    results = []
    for seed in (0, 0, 1, 2, 3):
        np.random.seed(seed)
        found = load.transform({"media_path": str(video_folder / "video2.mp4")})
        results.append(found["frame_indices"].tolist())
    assert results[0] == results[1]
    assert len({tuple(result) for result in results}) > 1


def test_unreadable(video_folder: Path) -> None:
    with pytest.raises(MediaError, match=r"video3\.mp4: the file is empty"):
        LoadVideo(4).transform({"media_path": str(video_folder / "video3.mp4")})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_frames": 0}, "num_frames must be at least 1"),
        ({"num_frames": 4, "sampling": "middle"}, "sampling must be one of"),
        ({"num_frames": 4, "backend": {"type": "opencv"}}, "backend must be"),
        ({"num_frames": 4, "backend": {"type": "decord", "threads": 2}}, "backend must be"),
        ({"num_frames": 4, "backend": {}}, "backend must be"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LoadVideo(**options)


def test_repr_says_what_it_does() -> None:
    assert repr(LoadVideo(4)) == "LoadVideo(num_frames=4, sampling='center', backend='auto')"
