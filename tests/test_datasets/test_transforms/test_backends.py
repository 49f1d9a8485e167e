from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from uniadapter.datasets import MediaError
from uniadapter.datasets.transforms import (
    DecordBackend,
    FramesBackend,
    ImageBackend,
    open_media,
)
from uniadapter.datasets.transforms.containers import check_boxes

MakeVideo = Callable[..., Path]


def decode_all(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_frames": 1},
        {"num_frames": 60},
        {"width": 48, "height": 64},
        {"width": 50, "height": 66},
        {"width": 16, "height": 16},
        {"width": 214, "height": 120},
        {"durations": (10, 40, 200, 33)},
        {"codec": "mpeg4"},
    ],
    ids=["plain", "one", "long", "portrait", "odd", "tiny", "wide", "variable-rate", "mpeg4"],
)
def test_decord_agrees_with_another_decoder(
    tmp_path: Path, make_video: MakeVideo, options: dict
) -> None:
    # Both convert YUV to RGB by the same swscale rounding; one grey level is allowed for builds
    # of FFmpeg that differ.
    path = make_video(tmp_path / "a.mp4", **options)
    expected = decode_all(path)
    reader = DecordBackend(str(path))
    assert len(reader) == len(expected)
    last = len(expected) - 1
    wanted = [last, 0, last // 2, last // 2, last]
    frames = reader.get_frames(wanted)
    assert frames.dtype == np.uint8
    assert frames.shape == (5, *expected.shape[1:])
    assert np.abs(frames.astype(int) - expected[wanted]).max() <= 1


def test_variable_frame_rate_is_sampled_by_frame_not_by_time(
    tmp_path: Path, make_video: MakeVideo
) -> None:
    path = make_video(tmp_path / "a.mp4", num_frames=12, durations=(10, 500))
    assert len(DecordBackend(str(path))) == 12


def test_rotation_of_the_container_is_applied(tmp_path: Path, make_video: MakeVideo) -> None:
    path = make_video(tmp_path / "a.mp4", width=96)
    data = bytearray(path.read_bytes())
    upright = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    start = data.index(upright, data.index(b"tkhd"))
    quarter_turn = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    data[start : start + 36] = quarter_turn
    path.write_bytes(bytes(data))
    expected = np.rot90(decode_all(path), k=-1, axes=(1, 2))
    frames = open_media(str(path)).get_frames(range(12))
    assert frames.shape == (12, 96, 48, 3)
    # Turning the planes before the conversion to RGB moves the chroma samples a little.
    assert np.abs(frames.astype(int) - expected).mean() < 8


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"gone\.mp4: does not exist") as caught:
        open_media(str(tmp_path / "gone.mp4"))
    assert caught.value.kind == "missing"
    assert caught.value.path.endswith("gone.mp4")


@pytest.mark.parametrize("name", ["a.mp4", "a.jpg"])
def test_empty(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(MediaError, match="empty") as caught:
        open_media(str(tmp_path / name))
    assert caught.value.kind == "empty"


@pytest.mark.parametrize("faststart", [False, True])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_truncated(tmp_path: Path, make_video: MakeVideo, share: float, faststart: bool) -> None:
    path = make_video(tmp_path / "a.mp4", num_frames=30, faststart=faststart)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(MediaError, match="truncated") as caught:
        open_media(str(path))
    assert caught.value.kind == "truncated"


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "mpeg4"), ("a.mkv", "libx264")])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_truncated_where_the_container_declares_its_size(
    tmp_path: Path, make_video: MakeVideo, name: str, codec: str, share: float
) -> None:
    path = make_video(tmp_path / name, num_frames=30, codec=codec)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(MediaError, match=rf"{name}: truncated: its content ends at byte") as caught:
        open_media(str(path))
    assert caught.value.kind == "truncated"


def test_a_matroska_file_of_unknown_size_is_read(tmp_path: Path, make_video: MakeVideo) -> None:
    path = make_video(tmp_path / "a.mkv", codec="libx264")
    data = bytearray(path.read_bytes())
    at = data.index(b"\x18S\x80g") + 4
    assert data[at] == 1
    data[at : at + 8] = b"\x01" + b"\xff" * 7
    path.write_bytes(bytes(data) + b"more")
    assert len(open_media(str(path))) == 12


def test_garbage(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"<html>not found</html>" * 50)
    with pytest.raises(MediaError, match=r"a\.mp4") as caught:
        open_media(str(path))
    assert caught.value.kind == "undecodable"


def test_cut_before_the_index(tmp_path: Path, make_video: MakeVideo) -> None:
    path = make_video(tmp_path / "a.mp4")
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"moov") - 4])
    with pytest.raises(MediaError, match="no 'moov' box") as caught:
        open_media(str(path))
    assert caught.value.kind == "truncated"


def test_junk_behind_a_whole_video_does_no_harm(tmp_path: Path, make_video: MakeVideo) -> None:
    path = make_video(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes() + b"\0" * 100)
    assert len(open_media(str(path))) == 12


def test_boxes_of_other_makers_do_no_harm(tmp_path: Path, make_video: MakeVideo) -> None:
    path = make_video(tmp_path / "a.mp4")
    path.write_bytes(b"\0\0\0\x10beam\0\0\0\0\0\0\0\0" + path.read_bytes())
    check_boxes(str(path))


def test_damage_in_the_middle(tmp_path: Path, make_video: MakeVideo) -> None:
    path = make_video(tmp_path / "a.mp4", num_frames=60, faststart=True)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = b"\0" * 2000
    path.write_bytes(bytes(data))
    with pytest.raises(MediaError, match=r"a\.mp4: frame \d+"):
        open_media(str(path)).get_frames(range(60))


def test_other_containers_are_left_to_the_decoder(tmp_path: Path, make_video: MakeVideo) -> None:
    path = make_video(tmp_path / "a.avi", codec="mpeg4")
    assert len(open_media(str(path))) == 12


def test_folder_of_frames_in_sorted_order(tmp_path: Path) -> None:
    for index in (3, 1, 2):
        Image.new("RGB", (8, 6), (index, 0, 0)).save(tmp_path / f"{index:03d}.png")
    (tmp_path / "notes.txt").write_text("not a frame")
    reader = open_media(str(tmp_path))
    assert isinstance(reader, FramesBackend)
    assert len(reader) == 3
    frames = reader.get_frames([2, 0, 2])
    assert frames.shape == (3, 6, 8, 3)
    assert frames[:, 0, 0, 0].tolist() == [3, 1, 3]


def test_folder_without_frames(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no picture"):
        open_media(str(tmp_path), "frames")


def test_folder_with_frames_of_two_sizes(tmp_path: Path) -> None:
    Image.new("RGB", (8, 6)).save(tmp_path / "0.png")
    Image.new("RGB", (6, 8)).save(tmp_path / "1.png")
    with pytest.raises(MediaError, match="differ in size"):
        open_media(str(tmp_path)).get_frames([0, 1])


def test_folder_with_a_broken_frame(tmp_path: Path) -> None:
    (tmp_path / "0.jpg").write_bytes(b"nonsense")
    with pytest.raises(MediaError, match=r"0\.jpg"):
        open_media(str(tmp_path)).get_frames([0])


def test_image_is_a_video_of_one_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (8, 6), 7).save(path)
    reader = open_media(str(path))
    assert isinstance(reader, ImageBackend)
    assert len(reader) == 1
    assert reader.get_frames([0, 0]).shape == (2, 6, 8, 3)


def test_truncated_image(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(MediaError, match=r"a\.png"):
        open_media(str(path))


@pytest.mark.parametrize(
    ("backend", "folder", "hint"),
    [("decord", True, "is a folder"), ("image", True, "is a folder"), ("frames", False, "a file")],
)
def test_backend_of_the_wrong_kind(tmp_path: Path, backend: str, folder: bool, hint: str) -> None:
    path = tmp_path if folder else tmp_path / "a.mp4"
    if not folder:
        path.write_bytes(b"x")
    with pytest.raises(MediaError, match=hint):
        open_media(str(path), backend)


def test_unknown_backend(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="backend must be"):
        open_media(str(tmp_path), "ffmpeg")


def test_media_error_survives_process_borders() -> None:
    error = MediaError("a.mp4", "is empty", "empty")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.path, copy.kind) == (str(error), "a.mp4", "empty")
    # What a data loader does with the exception of a worker.
    assert "a.mp4: is empty" in str(MediaError(f"Caught MediaError: {error}"))
