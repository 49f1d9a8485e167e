from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers import run_script
from tests.test_datasets.conftest import write_video
from tests.test_tools.test_frame_times import BROKEN_TIMES
from tools.dataset_converters import extract_frames
from tools.dataset_converters.extract_frames import extract, main
from uniadapter.datasets import MediaError, RetrievalJsonDataset
from uniadapter.datasets.media import MediaFolder
from uniadapter.datasets.transforms import (
    AvBackend,
    DecordBackend,
    FramesBackend,
    LoadVideo,
    open_media,
)

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
        ("[" * 100_000, r"frames\.json: can't be read: .*nested too deeply"),
        ("\udcff\udcfe", r"frames\.json: can't be read: .*utf-8"),
        ("[]", r"no index of version 1; .*--overwrite"),
        ('{"version": 2}', "no index of version 1"),
        ('{"version": 1, "image": "jpg"}', "'numbers' or 'image'"),
        ('{"version": 1, "image": "gif", "numbers": [1]}', "'numbers' or 'image'"),
    ],
)
def test_a_broken_index_is_an_error(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "frames.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(MediaError, match=message):
        FramesBackend(str(tmp_path))


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
        (["--fps", "0"], "--fps: 0 must be above 0"),
        (["--fps", "-3"], "--fps: -3 must be above 0"),
        (["--fps", "nan"], "--fps: nan is no finite number"),
        (["--fps", "inf"], "--fps: inf is no finite number"),
        (["--fps", "1e9"], "--fps: 1e9 must be at most 1000"),
        (["--short-side", "0"], "must be at least 1"),
        (["--quality", "101"], "must be at most 100"),
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


def test_as_a_command_with_two_processes(
    tmp_path: Path, videos: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    script = "dataset_converters/extract_frames.py"
    assert run_script(script, videos, out, "--fps", "5", "--workers", "2") == 1
    printed = capfd.readouterr().out
    assert "3 extracted" in printed
    assert "d.mp4" in printed


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
