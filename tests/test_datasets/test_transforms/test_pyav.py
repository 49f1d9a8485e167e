from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from uniadapter.datasets import MediaError
from uniadapter.datasets.transforms import (
    AvBackend,
    DecordBackend,
    InexactError,
    LoadVideo,
    open_media,
)

MakeVideo = Callable[..., Path]


def write(path: Path, codec: str, frames: int = 50, gop: int = 12, **options: str) -> Path:
    """Write a moving noisy picture in groups of ``gop`` frames."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (16, 24, 3), dtype=np.uint8).repeat(6, 0).repeat(6, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(25), options=options)
        stream.width, stream.height, stream.pix_fmt = 144, 96, "yuv420p"
        stream.codec_context.gop_size = gop
        for index in range(frames):
            moved = np.roll(picture, index * 2, axis=1)
            noise = rng.integers(-9, 10, picture.shape)
            moved = np.clip(moved + noise, 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(moved, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {}),
        ("a.mp4", "libx264", {"bf": "8", "b-pyramid": "strict"}),
        ("a.mp4", "libx264", {"x264-params": "open-gop=1"}),
        ("a.mp4", "libx264", {"gop": 1}),
        ("a.mp4", "libx264", {"gop": 250}),
        ("a.mp4", "libx264", {"x264-params": "bluray-compat=1:interlaced=1"}),
        ("a.mp4", "libx264", {"colorspace": "bt709", "color_range": "tv"}),
        ("a.mp4", "libx265", {"x265-params": "log-level=none"}),
        ("a.mp4", "mpeg4", {"bf": "2"}),
        ("a.mkv", "libx264", {}),
        ("a.webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
        ("a.ts", "libx264", {}),
        ("a.mpg", "mpeg2video", {"bf": "2"}),
        ("a.mov", "libx264", {}),
        ("a.avi", "mpeg4", {"bf": "2"}),
        ("a.avi", "libx264", {"bf": "0"}),
    ],
)
def test_any_frames_are_those_of_a_whole_decoding(
    tmp_path: Path, name: str, codec: str, options: dict
) -> None:
    path = str(write(tmp_path / name, codec, **options))
    with av.open(path) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    expected = np.stack(frames)
    count = len(expected)
    assert len(AvBackend(path)) == count
    rng = np.random.default_rng(1)
    draws = [[count - 1], [0], *(rng.integers(0, count, size).tolist() for size in (1, 2, 3, 5, 9))]
    reader = AvBackend(path)
    for wanted in draws:
        assert np.array_equal(AvBackend(path).get_frames(wanted), expected[wanted]), wanted
        assert np.array_equal(reader.get_frames(wanted), expected[wanted]), wanted
    assert np.array_equal(reader.get_frames(range(count)), expected)
    try:
        of_decord = DecordBackend(path)
    except InexactError:
        assert name[-3:] in (".ts", "mpg", "avi") or codec != "libx264" or "x264-params" in options
    else:
        assert np.array_equal(of_decord.get_frames(range(count)), expected)


def test_frames_that_nothing_builds_on_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(write(tmp_path / "a.mp4", "libx264", gop=50))
    decoded = []

    class Watched:
        def __init__(self, packet: av.Packet) -> None:
            self.packet, self.pts = packet, packet.pts

        def decode(self) -> list:
            frames = self.packet.decode()
            decoded.extend(frames)
            return frames

    plain = AvBackend._packets_from
    watched = lambda self, key: map(Watched, plain(self, key))  # noqa: E731
    monkeypatch.setattr(AvBackend, "_packets_from", watched)
    AvBackend(path).get_frames([44])
    # x264 predicts nothing from every second frame.
    assert 0 < len(decoded) < 35


def test_the_note_of_rotation_is_obeyed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "libx264", frames=12)
    plain = AvBackend(str(path)).get_frames(range(12))
    data = bytearray(path.read_bytes())
    upright = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    start = data.index(upright, data.index(b"tkhd"))
    quarter_turn = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 96 << 16, 0, 1 << 30)
    data[start : start + 36] = quarter_turn
    path.write_bytes(bytes(data))
    turned = AvBackend(str(path)).get_frames(range(12))
    assert np.array_equal(turned, np.rot90(plain, k=-1, axes=(1, 2)))
    of_decord = DecordBackend(str(path)).get_frames(range(12))
    assert turned.shape == of_decord.shape
    # decord turns before it converts to RGB, which moves the chroma samples a little.
    assert np.abs(turned.astype(int) - of_decord).mean() < 25


def test_variable_rate_counts_frames_not_time(tmp_path: Path, make_video: MakeVideo) -> None:
    path = str(make_video(tmp_path / "a.mp4", num_frames=12, durations=(10, 500)))
    expected = DecordBackend(path).get_frames(range(12))
    assert np.array_equal(AvBackend(path).get_frames(range(12)), expected)


def test_files_without_times_are_read_from_their_start(tmp_path: Path) -> None:
    for name in ("a.avi", "a.h264"):
        path = str(write(tmp_path / name, "libx264"))
        assert AvBackend(path).doubt
        assert len(AvBackend(path)) == 50


@pytest.mark.parametrize("damage", ["missing", "empty", "garbage", "cut", "holes", "sound"])
def test_faults_name_the_file(tmp_path: Path, make_video: MakeVideo, damage: str) -> None:
    path = make_video(tmp_path / "a.mp4", num_frames=60, faststart=True)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    if damage == "missing":
        path.unlink()
    elif damage == "sound":
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=16000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.rate = 16000
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
    else:
        holes = data[:middle] + bytes(2000) + data[middle + 2000 :]
        contents = {"empty": b"", "garbage": b"<html>" * 99, "cut": data[:middle], "holes": holes}
        path.write_bytes(contents[damage])
    with pytest.raises(MediaError, match=r"a\.mp4: (frame \d+)?"):
        AvBackend(str(path)).get_frames(range(60))


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="is a folder"):
        open_media(str(tmp_path), "av")


def test_the_config_chooses_it(tmp_path: Path, make_video: MakeVideo) -> None:
    path = str(make_video(tmp_path / "a.mp4", num_frames=30))
    results = [
        LoadVideo(4, backend=dict(type=name)).transform({"media_path": path})
        for name in ("decord", "av")
    ]
    assert np.array_equal(results[0]["frames"], results[1]["frames"])
    assert results[0]["frame_indices"].tolist() == results[1]["frame_indices"].tolist()


def test_without_the_package_the_error_says_what_to_install(
    tmp_path: Path, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(make_video(tmp_path / "a.mp4"))
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(ImportError, match="pip install av"):
        AvBackend(path)
