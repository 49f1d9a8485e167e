from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from tests.helpers import run_script
from uniadapter.datasets.transforms import open_media

TOOL = Path(__file__).resolve().parents[2] / "tools" / "misc" / "verify_dataset.py"

CONFIG = """
default_scope = 'uniadapter'
pipeline = [
    dict(type='LoadVideo', num_frames=2),
    dict(type='VideoResize', size=16),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    dataset=dict(
        type='MSRVTTRetrieval',
        data_root={root!r},
        data_prefix=dict(media='videos'),
        split_file='train.csv',
        pipeline=pipeline))
test_dataloader = dict(
    dataset=dict(
        type='RepeatDataset',
        times=2,
        dataset=dict(
            type='MSRVTTRetrieval',
            data_root={root!r},
            data_prefix=dict(media='videos'),
            split_file='test.csv',
            test_mode=True,
            pipeline=pipeline)))
"""


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("verify_dataset", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["verify_dataset"] = module
    spec.loader.exec_module(module)
    return module


def write_video(path: Path) -> None:
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for index in range(6):
            picture = np.full((32, 32, 3), index * 20, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two good media and one of each kind of fault."""
    videos = tmp_path / "videos"
    videos.mkdir()
    write_video(videos / "good.mp4")
    data = (videos / "good.mp4").read_bytes()
    (videos / "cut.mp4").write_bytes(data[:-200])
    (videos / "empty.mp4").touch()
    (videos / "noise.mp4").write_bytes(b"<html>" * 100)
    (videos / "frames").mkdir()
    Image.new("RGB", (8, 8)).save(videos / "frames" / "0.png")
    write_split(tmp_path / "train.csv", ["good", "cut", "empty", "noise", "gone", "good"])
    write_split(tmp_path / "test.csv", ["good", "frames"])
    (tmp_path / "config.py").write_text(CONFIG.format(root=str(tmp_path)))
    return tmp_path


def write_split(path: Path, names: list[str]) -> None:
    rows = [f"{name},caption {index}\n" for index, name in enumerate(names)]
    path.write_text("video_id,sentence\n" + "".join(rows))


def test_finds_every_fault(tool: ModuleType, root: Path, capfd: pytest.CaptureFixture) -> None:
    report = root / "reports" / "report.json"
    status = tool.main([str(root / "config.py"), "--out", str(report), "--workers", "2"])
    assert status == 1
    found = json.loads(report.read_text())
    train = found["train"]
    assert (train["items"], train["media"], train["annotations"]) == (6, 5, None)
    kinds = {Path(fault["path"]).stem: fault["kind"] for fault in train["faults"]}
    assert kinds == {
        "cut": "truncated",
        "empty": "empty",
        "noise": "undecodable",
        "gone": "missing",
    }
    assert found["test"] == {"items": 2, "media": 2, "annotations": None, "faults": []}
    printed = capfd.readouterr().out
    assert "train: 6 items, 5 media, 1 empty, 1 missing, 1 truncated, 1 undecodable" in printed
    assert "gone.mp4: does not exist" in printed
    assert "test: 2 items, 2 media, all readable" in printed


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_reader_that_ends_its_process_is_a_fault_of_its_medium(
    tool: ModuleType, root: Path, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    def read(path: str, backend: str) -> Any:
        return os._exit(9) if path.endswith("good.mp4") else open_media(path, backend)

    monkeypatch.setattr(tool, "open_media", read)
    out = root / "report.json"
    options = ["--split", "test", "--out", str(out), "--workers", workers]
    assert tool.main([str(root / "config.py"), *options]) == 1
    (fault,) = json.loads(out.read_text())["test"]["faults"]
    path = str(root / "videos" / "good.mp4")
    reason = f"{path}: its process ended with status 9"
    assert fault == {"path": path, "kind": "undecodable", "reason": reason}


@pytest.mark.parametrize("frames", ["ends", "all"])
def test_a_video_is_sound_where_its_reader_is_exact(tool: ModuleType, frames: str) -> None:
    videos = Path(__file__).resolve().parents[1] / "data" / "videos"
    for name in ("h264_bframes.avi", "opengop.mp4", "cut_editlist.mp4", "cover_udta_first.mp4"):
        assert tool.check_medium(str(videos / name), "auto", frames) is None
        fault = tool.check_medium(str(videos / name), "decord", frames)
        assert "decord may give other frames" in fault["reason"]
    fault = tool.check_medium(str(videos / "audio_only.mp4"), "auto", frames)
    assert "no video stream" in fault["reason"]


def test_all_frames_of_one_split(tool: ModuleType, root: Path) -> None:
    config = str(root / "config.py")
    assert tool.main([config, "--split", "test", "--frames", "all", "--workers", "1"]) == 0


def test_annotation_errors_are_in_the_report(
    tool: ModuleType, root: Path, capsys: pytest.CaptureFixture
) -> None:
    (root / "test.csv").write_text("video_id,sentence\ngood,\n")
    assert tool.main([str(root / "config.py"), "--split", "test"]) == 1
    assert "test.csv: line 2: 'sentence' is empty" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "val"], "there is no dataloader for val"),
        (["--cfg-options", "tran_dataloader=1"], "tran_dataloader"),
    ],
)
def test_bad_arguments(tool: ModuleType, root: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        tool.main([str(root / "config.py"), *arguments])


def test_missing_config(tool: ModuleType) -> None:
    with pytest.raises(SystemExit, match=r"none\.py"):
        tool.main(["none.py"])


def test_exit_status_of_the_command(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = [root / "config.py", "--split", "train"]
    assert run_script("misc/verify_dataset.py", *arguments) == 1
    assert "1 truncated" in capfd.readouterr().out


def test_features_are_read(tool: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    rows = [{"question_id": n, "img_id": f"p{n % 3}", "sent": "q", "label": {}} for n in range(4)]
    (tmp_path / "q.json").write_text(json.dumps(rows))
    (tmp_path / "f").mkdir()
    for number, cells in enumerate((4, 4, 5)):
        np.savez(tmp_path / "f" / f"p{number}.npz", features=np.ones((cells, 2), np.float16))
    (tmp_path / "f" / "p1.npz").write_bytes(b"<html>")
    features = dict(type="npz", root="f", shape=(4, 2))
    dataset = dict(type="FeatureVQA", data_root=str(tmp_path), ann_file="q.json", features=features)
    text = f"default_scope = 'uniadapter'\ntrain_dataloader = dict(dataset={dataset!r})\n"
    (tmp_path / "config.py").write_text(text)
    assert tool.main([str(tmp_path / "config.py")]) == 1
    printed = capfd.readouterr().out
    assert "train: 4 items, 3 media, 2 features" in printed
    assert "p1.npz: damaged or of another kind" in printed
    assert "p2.npz: 'features' of 'p2' has shape (5, 2), expected (4, 2)" in printed
