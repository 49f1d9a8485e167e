"""Frame i is the i-th that is shown, whatever the container, codec and order of asking."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from uniadapter.datasets import MediaError
from uniadapter.datasets.transforms import InexactError, open_media

CASES = Path(__file__).resolve().parents[2] / "data" / "videos"
#: (N, 6, 8, 3) thumbnails of all frames as the program ffmpeg decodes them, by name of the file.
THUMBNAILS = np.load(CASES / "frames.npz")


def thumbnails(frames: np.ndarray) -> np.ndarray:
    box = Image.Resampling.BOX
    pictures = [Image.fromarray(f).resize((32, 24), box).resize((8, 6), box) for f in frames]
    return np.stack([np.asarray(picture) for picture in pictures]).astype(int)


def index_lists(length: int) -> list[list[int]]:
    """Lists of frame numbers: single, last, unsorted, repeated, all."""
    rng = np.random.default_rng(length)
    drawn = [rng.integers(0, length, size).tolist() for size in (1, 2, 5, 9)]
    return [[length - 1], [0], *drawn, sorted(drawn[-1]), [3, 3, 1, 3], list(range(length))]


@pytest.mark.parametrize("backend", ["auto", "av", "decord"])
@pytest.mark.parametrize("name", THUMBNAILS.files)
def test_frames_are_those_of_ffmpeg_or_refused_by_name(name: str, backend: str) -> None:
    expected = THUMBNAILS[name].astype(int)
    if backend == "decord" and name not in ("good.mp4", "res_change.webm"):
        with pytest.raises(InexactError, match=rf"{name}: decord may give other frames.*'av'"):
            open_media(str(CASES / name), backend)
        return
    reader = open_media(str(CASES / name), backend)
    assert len(reader) == len(expected)
    for wanted in index_lists(len(expected)):
        for again in (reader, open_media(str(CASES / name), backend)):
            frames = again.get_frames(wanted)
            # Frames of a stream that changes its size are scaled by one program or the other.
            allowed = 12 if name == "res_change.webm" else 1
            assert np.abs(thumbnails(frames) - expected[wanted]).max() <= allowed, wanted


@pytest.mark.parametrize("backend", ["auto", "av", "decord"])
def test_sound_alone_is_named(backend: str) -> None:
    with pytest.raises(MediaError, match="no video stream.*only audio"):
        open_media(str(CASES / "audio_only.mp4"), backend)


@pytest.mark.parametrize("backend", ["auto", "av", "decord"])
@pytest.mark.parametrize("wanted", [[], [-1], [12], [0, 99]])
def test_frames_that_are_not_there(video_folder: Path, backend: str, wanted: list[int]) -> None:
    reader = open_media(str(video_folder / "video2.mp4"), backend)
    with pytest.raises(MediaError, match=r"no frame was asked for|frame -?\d+: there are \d+"):
        reader.get_frames([*wanted, len(reader)] if wanted == [12] else wanted)
