"""Trials on a small world: what is held in memory, held out, trained and tested."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.toy_parts import load_tool
from tools.study import run as command
from tools.study.frames import hold
from tools.study.results import read_file
from tools.study.rows import find
from tools.study.trials import BUDGETS, RATES, Setting, Trial, config_of
from uniadapter.registry import DATASETS
from uniadapter.utils.generators import seed_generators


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world of 20 training and 6 test videos, and questions about them."""
    world = tmp_path_factory.mktemp("study") / "world"
    sizes = ["--stills", "0", "--train-videos", "20", "--test-videos", "6"]
    tool = load_tool("dataset_converters/make_toy_world.py")
    tool.main(["--out", str(world), *sizes, "--parts", "msrvtt_qa"])
    return world


def test_held_frames_are_those_that_are_decoded(drawn: Path):
    cfg = config_of(Trial(find("retrieval/linear_probe"), 0, 1e-3, 4), Setting(drawn))
    plain = {split: cfg[f"{split}_dataloader"].dataset.to_dict() for split in ("train", "test")}
    hold(cfg)
    for split, pipeline in plain.items():
        held = cfg[f"{split}_dataloader"].dataset
        assert [step["type"] for step in held.pipeline][0] == "HeldVideo"
        items = []
        for dataset in (pipeline, held.to_dict()):
            seed_generators(3)
            built = DATASETS.build(dataset)
            items.append([built[index] for index in (0, 3, 0)])
        for one, other in zip(*items, strict=True):
            assert np.array_equal(one["inputs"], other["inputs"])


def test_the_held_out_videos_are_not_trained_on(drawn: Path):
    cfg = config_of(Trial(find("retrieval/linear_probe"), 0, 1e-3, 4), Setting(drawn))
    videos = {
        split: {
            one["video_id"] for one in DATASETS.build(cfg[f"{split}_dataloader"].dataset).media()
        }
        for split in ("train", "val", "test")
    }
    assert {split: len(found) for split, found in videos.items()} == {
        "train": 18,
        "val": 2,
        "test": 6,
    }
    assert len(set.union(*videos.values())) == 26


def test_easy_vqas_held_out_pictures_are_not_trained_on():
    pytest.importorskip("easy_vqa")
    cfg = config_of(Trial(find("easy_vqa/linear_probe"), 0, 1e-3, 4), Setting())
    train, val = cfg.train_dataloader.dataset.indices, cfg.val_dataloader.dataset.indices
    assert (train, len(val), val[0]) == (val.start, 38_575 - train, train)
    assert 0.88 < train / 38_575 < 0.92
    built = DATASETS.build({**cfg.val_dataloader.dataset.to_dict(), "pipeline": []})
    pictures = [int(Path(one["media_path"]).stem) for one in built.media()]
    assert pictures == list(range(3600, 4000))
    # Three passes and eight over what is left.
    assert BUDGETS["easy_vqa"].lengths == tuple(n * (train // 32) for n in (3, 8))


def test_a_study_of_two_rows(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Two rows train and are tested; the same command then finds nothing to do."""
    monkeypatch.setattr("tools.study.plan.RATES", RATES[:1])
    monkeypatch.setattr("tools.study.results.RATES", RATES[:1])
    results = tmp_path / "results"
    arguments = ["--world", str(drawn), "--results", str(results), "--steps", "2", "--seeds", "0"]
    arguments += ["--work-dir", str(tmp_path / "logs"), "--jobs", "2"]
    rows = ["--rows", "retrieval/linear_probe", "videoqa/linear_probe"]
    command.main([*arguments, *rows])
    written = {path: path.stat().st_mtime_ns for path in results.rglob("*.json")}
    assert len(written) == 2
    for path in written:
        found = read_file(path)
        assert found["steps"] == 2
        assert set(found["test"]) == set(found["val"])
        assert found["curve"][-1][0] == 2
        assert found["parameters"]["trainable"] < found["parameters"]["total"]
        assert found["step_cpu_seconds"] > 0
    command.main([*arguments, *rows])
    assert {path: path.stat().st_mtime_ns for path in results.rglob("*.json")} == written


def test_mistakes_are_named(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    for arguments, words in (
        (["--rows", "nothing"], "matches no row"),
        (["--shard", "3"], "I/N"),
        (["--print", "retrieval/none"], "no such row"),
        (["--world", str(tmp_path)], "make_toy_world.py"),
    ):
        with pytest.raises(SystemExit, match=words):
            command.main(arguments)
    with pytest.raises(SystemExit):
        command.parse_args(["--jobs", "0"])
    assert "at least 1" in capsys.readouterr().err
    for arguments, words in (
        (["--rate", "0.1"], "--rate needs --print"),
        (["list", "--shard", "0/8"], "of trials that are run"),
        (["--print", "retrieval/linear_probe", "--stage", "rows"], "of trials that are run"),
        (["tables", "--jobs", "2"], "of trials that are run"),
        (["figures", "--rows", "retrieval/*"], "of all rows"),
    ):
        with pytest.raises(SystemExit):
            command.parse_args(arguments)
        assert words in capsys.readouterr().err
    command.parse_args(["list", "--rows", "retrieval/*"])
