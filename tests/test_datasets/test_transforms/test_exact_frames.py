"""Frame i is the i-th that is shown, whatever the container, codec and order of asking."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.helpers import draws
from tests.test_datasets.test_transforms.drawn_clips import (
    Clip,
    clips,
    decode_plainly,
    write_clip,
)
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


@settings(max_examples=draws(60), deadline=None)
@given(clip=clips(), asked=st.lists(st.lists(st.integers(0), min_size=1, max_size=8), max_size=2))
def test_drawn_clips_in_any_order_of_asking(clip: Clip, asked: list[list[int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_clip(Path(folder) / "clip", clip)
        expected = decode_plainly(path)
        for backend in ("auto", "decord"):
            try:
                reader = open_media(str(path), backend)
            except MediaError as error:
                event(f"{backend}: refused")
                # A cut may have left nothing to decode.
                if expected and not (backend == "decord" and isinstance(error, InexactError)):
                    raise
                continue
            event(f"{backend}: {getattr(reader, 'doubt', '') or 'from entries'}")
            assert len(reader) == len(expected)
            wanted_lists = [[number % len(reader) for number in numbers] for numbers in asked]
            for wanted in (*wanted_lists, list(range(len(reader)))):
                for number, frame in zip(wanted, reader.get_frames(wanted), strict=True):
                    close_enough(frame, expected, number, backend)


def close_enough(frame: np.ndarray, expected: list[np.ndarray], number: int, backend: str) -> None:
    """The frame is the expected one, and no other is as near; decord rounds colours otherwise."""
    if backend != "decord":
        assert np.array_equal(frame, expected[number])
        return
    assert frame.shape == expected[number].shape
    distances = [np.abs(frame.astype(int) - other).mean() for other in expected]
    assert int(np.argmin(distances)) == number


@settings(max_examples=draws(60), deadline=None)
@given(
    name=st.sampled_from(sorted(path.name for path in CASES.iterdir())),
    damage=st.sampled_from(["cut", "flip", "noise", "turn"]),
    suffix=st.sampled_from(["", ".mp4", ".avi", ".mkv", ".ts", ".gif", ".png", ".txt"]),
    data=st.data(),
)
def test_whatever_the_bytes_the_error_is_a_media_error(
    name: str, damage: str, suffix: str, data: st.DataObject
) -> None:
    content = bytearray((CASES / name).read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if damage == "cut":
        del content[place:]
    elif damage == "flip":
        for at in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=9)):
            content[at] ^= data.draw(st.integers(1, 255))
    elif damage == "noise":
        noise = np.random.default_rng(place).integers(0, 256, 2000, dtype=np.uint8)
        content[place : place + 2000] = noise.tobytes()
    else:
        content = content[place:] + content[:place]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"clip{suffix}"
        path.write_bytes(bytes(content))
        for backend in ("auto", "av", "decord", "image", "frames"):
            with contextlib.suppress(MediaError):
                reader = open_media(str(path), backend)
                assert len(reader.get_frames([len(reader) - 1, 0])) == 2
