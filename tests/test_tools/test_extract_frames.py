from __future__ import annotations

import bisect
import json
import math
import os
import signal
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.helpers import run_tool
from tests.test_datasets.conftest import write_video
from tools.dataset_converters import extract_frames
from tools.dataset_converters.extract_frames import choose_frames, extract, main
from uniadapter.datasets import MediaError, RetrievalJsonDataset
from uniadapter.datasets.media import MediaFolder
from uniadapter.datasets.transforms import (
    AvBackend,
    DecordBackend,
    FramesBackend,
    LoadVideo,
    open_media,
)
from uniadapter.utils.processes import Died, map_in_processes

ALL = {"fps": None, "short_side": None, "image": "png", "quality": None}
CASES = Path(__file__).resolve().parents[1] / "data" / "videos"
#: (N, 6, 8, 3) thumbnails of all frames as the program ffmpeg decodes them, by name of the file.
FFMPEG_FRAMES = np.load(CASES / "frames.npz")


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Three good videos, one of them in a folder, and a broken one."""
    root = tmp_path / "videos"
    (root / "more").mkdir(parents=True)
    write_video(root / "a.mp4", num_frames=40)
    write_video(root / "b.avi", num_frames=9, codec="mpeg4")
    write_video(root / "more" / "c.mp4", num_frames=5, width=120, height=80)
    (root / "d.mp4").write_bytes(b"<html>" * 50)
    (root / "notes.txt").write_text("no video")
    return root


def test_png_frames_are_those_of_the_video_and_jpeg_ones_nearly(tmp_path: Path) -> None:
    video = str(write_video(tmp_path / "a.mp4", num_frames=40, width=160, height=120))
    assert extract(video, str(tmp_path / "png"), ALL, False)["state"] == "extracted"
    jpeg = {**ALL, "image": "jpg", "quality": 95}
    assert extract(video, str(tmp_path / "jpg"), jpeg, False)["state"] == "extracted"
    results = []
    for path, backend in (("a.mp4", "decord"), ("png", "frames"), ("jpg", "auto")):
        load = LoadVideo(6, backend=dict(type=backend))
        results.append(load.transform({"media_path": str(tmp_path / path)}))
        assert results[0]["frame_indices"].tolist() == results[-1]["frame_indices"].tolist()
    decoded, lossless, lossy = (result["frames"].astype(int) for result in results)
    assert np.array_equal(decoded, lossless)
    # JPEG halves the colours' resolution, which such noise doesn't survive; brightness stays.
    brightness = np.array([0.299, 0.587, 0.114])
    difference = np.abs((decoded - lossy) @ brightness)
    assert 0 < difference.mean() < 4


def test_only_the_sampled_pictures_are_read(tmp_path: Path) -> None:
    video = str(write_video(tmp_path / "a.mp4", num_frames=40))
    extract(video, str(tmp_path / "a"), ALL, False)
    for place in set(range(40)) - {5, 15, 25, 35}:
        (tmp_path / "a" / f"{place + 1:06d}.png").write_bytes(b"broken")
    load = LoadVideo(4, backend=dict(type="frames"))
    assert len(load.transform({"media_path": str(tmp_path / "a")})["frames"]) == 4
    with pytest.raises(MediaError, match=r"000001\.png"):
        LoadVideo(40).transform({"media_path": str(tmp_path / "a")})


def test_a_missing_picture_is_an_error_that_names_it(tmp_path: Path) -> None:
    extract(str(write_video(tmp_path / "a.mp4")), str(tmp_path / "a"), ALL, False)
    (tmp_path / "a" / "000003.png").unlink()
    reader = open_media(str(tmp_path / "a"))
    # A folder without index would have fewer frames and hide the loss.
    assert len(reader) == 12
    with pytest.raises(MediaError, match=r"a/000003\.png: does not exist") as caught:
        reader.get_frames([1, 2])
    assert caught.value.kind == "missing"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"frames\.json: can't be read"),
        ("[]", r"no index of version 1; .*--overwrite"),
        ('{"version": 2}', "no index of version 1"),
        ('{"version": 1, "image": "jpg"}', "'numbers' or 'image'"),
        ('{"version": 1, "image": "gif", "numbers": [1]}', "'numbers' or 'image'"),
    ],
)
def test_a_broken_index_is_an_error(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "frames.json").write_text(content)
    with pytest.raises(MediaError, match=message):
        FramesBackend(str(tmp_path))


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


@pytest.fixture
def broken_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers whose videos are named by what their times or their decoder do."""

    class Stub:
        def __init__(self, path: str) -> None:
            self.name = Path(path).stem
            if self.name == "opens-not":
                raise AssertionError("the decoder's own kind of error")
            if self.name == "aborts":
                os.kill(os.getpid(), signal.SIGKILL)

        def spans(self) -> np.ndarray:
            if self.name.isdigit():
                return np.array(BROKEN_TIMES[int(self.name)][0], dtype=np.float64)
            return np.arange(80).reshape(40, 2) + np.array([0, 1])

        def walk(self, numbers: list[int]) -> Iterator[np.ndarray]:
            if self.name == "too-large":
                raise MemoryError("Unable to allocate 4.00 EiB")
            for number in numbers:
                yield np.full((16, 20, 3), number, dtype=np.uint8)

    monkeypatch.setattr(extract_frames, "AvBackend", Stub)


@pytest.mark.usefixtures("broken_times")
@pytest.mark.parametrize("fps", [None, 2.0])
def test_one_videos_fault_is_listed_and_the_rest_goes_on(
    tmp_path: Path, fps: float | None, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [
        *map(str, range(len(BROKEN_TIMES))),
        "aborts",
        "good",
        "opens-not",
        "too-large",
        "zebra",
    ]
    (tmp_path / "videos").mkdir()
    for name in names:
        (tmp_path / "videos" / f"{name}.mp4").write_bytes(b"x")
    out = tmp_path / "out"
    chosen = [] if fps is None else ["--fps", str(fps)]
    options = [str(tmp_path / "videos"), str(out), "--image", "png", "--workers", "1", *chosen]
    faults = ["aborts", "opens-not", "too-large"] + (
        [] if fps is None else names[: len(BROKEN_TIMES)]
    )
    for there in (0, len(names) - len(faults)):
        assert main(options) == 1
        printed = capsys.readouterr().out
        assert f"{len(names)} videos: {len(names) - len(faults) - there} extracted" in printed
        assert f"{there} there already, {len(faults)} faults" in printed
        for name in faults:
            assert f"  {tmp_path / 'videos' / name}.mp4: " in printed
        assert "aborts.mp4: its process was ended by SIGKILL" in printed
        assert "MemoryError: Unable to allocate 4.00 EiB" in printed
        assert sorted(path.name for path in out.iterdir()) == sorted(set(names) - set(faults))
    for name in set(names) - set(faults):
        reader = open_media(str(out / name))
        index = json.loads((out / name / "frames.json").read_text())
        assert reader.get_frames(range(len(reader)))[:, 0, 0, 0].tolist() == index["numbers"]
        # JSON knows no NaN: where times say nothing, none are noted.
        assert (index["times"] is None) == name.isdigit()


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


@pytest.mark.parametrize("name", FFMPEG_FRAMES.files)
@pytest.mark.parametrize("fps", [None, 4.0])
def test_pictures_are_the_frames_of_difficult_files(
    tmp_path: Path, name: str, fps: float | None
) -> None:
    options = {**ALL, "fps": fps, "short_side": 24}
    assert extract(str(CASES / name), str(tmp_path / "a"), options, False)["state"] == "extracted"
    expected = FFMPEG_FRAMES[name].astype(int)
    index = json.loads((tmp_path / "a" / "frames.json").read_text())
    assert index["source"]["frames"] == len(expected)
    assert fps or index["numbers"] == list(range(len(expected)))
    for place, number in enumerate(index["numbers"], start=1):
        with Image.open(tmp_path / "a" / f"{place:06d}.png") as picture:
            small = np.asarray(picture.resize((8, 6), Image.Resampling.BOX)).astype(int)
        # Each other frame is further away than what scaling in two ways makes of one.
        away = np.abs(expected - small).mean(axis=(1, 2, 3))
        assert away[number] <= away.min() + 0.5, (number, away.argmin())
    # One after the other they are those of asking for each.
    rng = np.random.default_rng(len(expected))
    reader = AvBackend(str(CASES / name))
    for size in (1, 3, len(expected) // 2):
        numbers = np.sort(rng.choice(len(expected), size, replace=False)).tolist()
        walked = np.stack(list(reader.walk(numbers)))
        assert np.array_equal(walked, AvBackend(str(CASES / name)).get_frames(numbers))


def test_sound_alone_is_a_fault(tmp_path: Path) -> None:
    result = extract(str(CASES / "audio_only.mp4"), str(tmp_path / "a"), ALL, False)
    assert result["state"] == "fault"
    assert "no video stream" in result["reason"]


def test_a_picture_that_got_lost_is_not_passed_over(tmp_path: Path) -> None:
    video = str(write_video(tmp_path / "a.mp4"))
    extract(video, str(tmp_path / "a"), ALL, False)
    assert extract(video, str(tmp_path / "a"), ALL, False) == {"state": "there"}
    (tmp_path / "a" / "000003.png").unlink()
    result = extract(video, str(tmp_path / "a"), ALL, False)
    assert result["state"] == "fault"
    assert "lacks 1 of its pictures, such as 000003.png; --overwrite" in result["reason"]
    assert extract(video, str(tmp_path / "a"), ALL, True)["state"] == "extracted"


def test_numbers_and_times_are_noted(tmp_path: Path) -> None:
    video = str(write_video(tmp_path / "a.mp4", num_frames=50))
    options = {"fps": 5.0, "short_side": 24, "image": "png", "quality": None}
    extract(video, str(tmp_path / "a"), options, False)
    index = json.loads((tmp_path / "a" / "frames.json").read_text())
    assert index["numbers"] == [2 + 5 * i for i in range(10)]
    assert index["times"] == pytest.approx([0.08 + 0.2 * i for i in range(10)], abs=1e-5)
    assert index["size"] == [24, 32]
    assert index["source"]["frames"] == 50
    assert index["options"] == options
    reader = open_media(str(tmp_path / "a"))
    assert len(reader) == 10
    expected = [
        np.asarray(Image.fromarray(frame).resize((32, 24), Image.Resampling.BICUBIC))
        for frame in DecordBackend(video).get_frames([2, 47])
    ]
    assert np.array_equal(reader.get_frames([0, 9]), expected)


def test_a_run_can_be_repeated(
    tmp_path: Path, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    options = [str(videos), str(out), "--workers", "1"]
    assert main(options) == 1
    printed = capsys.readouterr().out
    assert "4 videos: 3 extracted" in printed
    assert "1 faults" in printed
    assert f"{videos / 'd.mp4'}: " in printed
    assert len(list((out / "more" / "c").glob("*.jpg"))) == 5
    assert not list(out.rglob(".*"))

    (videos / "d.mp4").unlink()
    stamp = (out / "a" / "000001.jpg").stat().st_mtime_ns
    # What a killed run leaves: no folder, but a half-filled one under another name.
    (out / "b").rename(out / ".b.partial")
    assert main(options) == 0
    assert "3 videos: 1 extracted" in capsys.readouterr().out
    assert (out / "a" / "000001.jpg").stat().st_mtime_ns == stamp
    assert len(list((out / "b").glob("*.jpg"))) == 9
    assert not list(out.rglob(".*"))


def test_other_options_or_another_file_are_not_passed_over(
    tmp_path: Path, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (videos / "d.mp4").unlink()
    out = tmp_path / "out"
    (out / "b").mkdir(parents=True)
    (out / "b" / "precious.txt").write_text("not of this tool")
    options = [str(videos), str(out), "--workers", "1"]
    assert main([*options, "--image", "png"]) == 1
    assert "0 there already, 1 faults" in capsys.readouterr().out
    assert main([*options, "--short-side", "20"]) == 1
    assert "was not made from" in capsys.readouterr().out
    assert len(list((out / "a").glob("*.png"))) == 40

    assert main([*options, "--short-side", "20", "--overwrite"]) == 1
    assert "2 extracted" in capsys.readouterr().out
    assert not list((out / "a").glob("*.png"))
    assert (out / "b" / "precious.txt").exists()

    write_video(videos / "a.mp4", num_frames=30)
    assert main([*options, "--short-side", "20"]) == 1
    assert str(out / "a") in capsys.readouterr().out


def test_nothing_half_written_takes_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = str(write_video(tmp_path / "a.mp4"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(extract_frames, "atomic_write", full)
    result = extract(video, str(tmp_path / "out" / "a"), ALL, False)
    assert result["state"] == "fault"
    assert "No space left" in result["reason"]
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fps", "0"], "--fps 0.0 must be above 0"),
        (["--fps", "-3"], "--fps -3.0 must be above 0"),
        (["--fps", "nan"], "--fps nan must be above 0"),
        (["--fps", "inf"], "--fps inf must be above 0 and at most 1000"),
        (["--fps", "1e9"], "must be above 0 and at most 1000; leave it out for every frame"),
        (["--short-side", "0"], "must be at least 1"),
        (["--quality", "101"], "must be in"),
        (["--workers", "0"], "must be at least 1"),
    ],
)
def test_bad_options(
    tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path), str(tmp_path / "out"), *options])
    assert message in capsys.readouterr().err


def test_nothing_to_do_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="is not a folder"):
        main([str(tmp_path / "gone"), str(tmp_path / "out")])
    with pytest.raises(SystemExit, match="holds no video"):
        main([str(tmp_path), str(tmp_path / "out")])
    for name in ("a.mp4", "a.avi"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(SystemExit, match="would share the folder"):
        main([str(tmp_path), str(tmp_path / "out")])
    (tmp_path / "a.avi").unlink()
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c.MOV").write_bytes(b"x")
    with pytest.raises(SystemExit, match=r"of .*c\.MOV would lie among the frames of .*a\.mp4"):
        main([str(tmp_path), str(tmp_path / "out")])


def test_as_a_command_with_two_processes(tmp_path: Path, videos: Path) -> None:
    out = tmp_path / "out"
    script = "dataset_converters/extract_frames.py"
    result = run_tool(script, videos, out, "--fps", "5", "--workers", "2")
    assert result.returncode == 1, result.stderr
    assert "3 extracted" in result.stdout
    assert "d.mp4" in result.stdout


def test_annotations_of_videos_find_folders_of_frames(tmp_path: Path) -> None:
    extract(str(write_video(tmp_path / "a.mp4")), str(tmp_path / "frames" / "a"), ALL, False)
    folder = MediaFolder(str(tmp_path / "frames"), (".mp4",))
    for name in ("a", "a.mp4", "a.mov"):
        assert folder.resolve(name) == str(tmp_path / "frames" / "a")
    (tmp_path / "items.jsonl").write_text('{"media": "a.mp4", "text": "stripes move"}\n')
    dataset = RetrievalJsonDataset(
        ann_file="items.jsonl",
        data_root=str(tmp_path),
        data_prefix=dict(media="frames/"),
        pipeline=[dict(type="uniadapter.LoadVideo", num_frames=3)],
    )
    assert dataset[0]["frames"].shape == (3, 48, 64, 3)
