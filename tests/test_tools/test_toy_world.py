from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.helpers import ROOT
from uniadapter.datasets import MSRVTTRetrieval, StillCaptionDataset
from uniadapter.models.tokenizer import BertTokenizer
from uniadapter.utils.compat import import_decord

TOOL = ROOT / "tools" / "dataset_converters" / "make_toy_world.py"
SMALL = ["--stills", "12", "--train-videos", "8", "--test-videos", "6"]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_toy_world", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_toy_world"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def world(tool: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("toy") / "world"
    tool.main(["--out", str(out), *SMALL])
    return out


def facts(world: Path) -> dict:
    return json.loads((world / "world.json").read_text())


def test_the_same_seed_draws_the_same_world(tool: ModuleType, world: Path, tmp_path: Path) -> None:
    tool.main(["--out", str(tmp_path / "again"), *SMALL])
    tool.main(["--out", str(tmp_path / "other"), *SMALL, "--seed", "1"])
    assert facts(tmp_path / "again") == facts(world)
    for key in ("stills_sha256", "videos_sha256"):
        assert facts(tmp_path / "other")[key] != facts(world)[key]


def test_a_smaller_world_is_the_beginning_of_a_larger_one(tool: ModuleType) -> None:
    few, _ = tool.draw_stills(3, 32, seed=5)
    many, _ = tool.draw_stills(6, 32, seed=5)
    np.testing.assert_array_equal(few, many[:3])


def test_a_complete_world_is_left_alone_and_a_broken_one_is_drawn_again(
    tool: ModuleType, world: Path, capsys: pytest.CaptureFixture
) -> None:
    video = world / "msrvtt" / "videos" / "video3.mp4"
    written = video.stat().st_mtime_ns
    tool.main(["--out", str(world), *SMALL])
    assert "nothing to draw" in capsys.readouterr().out
    assert video.stat().st_mtime_ns == written
    video.unlink()
    tool.main(["--out", str(world), *SMALL])
    assert video.is_file()


def test_the_videos_are_files_in_the_published_format(world: Path) -> None:
    root = world / "msrvtt"
    train = MSRVTTRetrieval(
        data_root=str(root),
        data_prefix={"media": "videos/"},
        ann_file="MSRVTT_data.json",
        split_file="MSRVTT_train.9k.csv",
    )
    test = MSRVTTRetrieval(
        data_root=str(root),
        data_prefix={"media": "videos/"},
        split_file="MSRVTT_JSFUSION_test.csv",
        test_mode=True,
    )
    assert len(train) == 8 * 3
    assert len(test) == 6
    item = test.get_data_info(0)
    assert len(item["texts"]) == 1
    reader = import_decord().VideoReader(item["media_path"], num_threads=1)
    assert 24 <= len(reader) <= 40
    assert reader[0].asnumpy().shape == (64, 64, 3)


def test_compression_keeps_the_frames(tool: ModuleType, tmp_path: Path) -> None:
    video = next(tool.draw_videos(tool.options_of(tool.parse_args(SMALL))))
    tool.write_mp4(tmp_path / "one.mp4", video.frames)
    reader = import_decord().VideoReader(str(tmp_path / "one.mp4"), num_threads=1)
    decoded = reader.get_batch(range(len(reader))).asnumpy()
    assert decoded.shape == video.frames.shape
    # Noise is lost, shapes and colours are not.
    assert np.abs(decoded.astype(int) - video.frames.astype(int)).mean() < 12


def test_stills_are_a_dataset(world: Path) -> None:
    stills = {"data_root": str(world / "stills"), "ann_file": "captions.json"}
    train = StillCaptionDataset(image_file="images.npy", indices=10, **stills)
    test = StillCaptionDataset(image_file="images.npy", indices=-2, test_mode=True, **stills)
    assert len(train) == 20
    assert len(test) == 2
    assert train[0]["frames"].shape == (1, 48, 48, 3)
    assert test[0]["media_id"] == 10


def test_the_committed_vocabulary_spells_every_caption(tool: ModuleType, world: Path) -> None:
    path = ROOT / "configs" / "tiny" / "vocab.txt"
    assert path.read_text(encoding="utf-8").splitlines() == tool.vocabulary()
    tokenizer = BertTokenizer(str(path))
    sentences = json.loads((world / "msrvtt" / "MSRVTT_data.json").read_text())["sentences"]
    captions = [entry["caption"] for entry in sentences]
    for texts in json.loads((world / "stills" / "captions.json").read_text()):
        captions += texts
    for caption in captions:
        # One token a word, beside [CLS] and [SEP]: nothing is unknown or spelled by letters.
        ids = tokenizer.encode(caption)
        assert len(ids) == len(caption.split()) + 2
        assert tokenizer.unk_token_id not in ids


def test_new_words_are_in_videos_alone(tool: ModuleType) -> None:
    from toy_world.language import SYNONYMS

    _, captions = tool.draw_stills(200, 16, seed=0)
    still_words = {word for texts in captions for text in texts for word in text.split()}
    options = tool.options_of(tool.parse_args(["--train-videos", "60", "--video-side", "16"]))
    video_words = {w for v in tool.draw_videos(options) for c in v.captions for w in c.split()}
    assert not still_words & set(SYNONYMS.values())
    assert set(SYNONYMS.values()) <= video_words


def test_an_event_is_in_two_or_three_of_eight_frames(tool: ModuleType) -> None:
    from toy_world.videos import _MAKERS

    for seed in range(50):
        shots, captions, _ = _MAKERS["event"](np.random.default_rng(seed), "plain")
        shown = [s for s in shots if all(t.name in captions[0] for t in s.things)]
        assert len(shown) == 1
        frames = (np.arange(8) + 0.5) / 8
        seen = sum(shown[0].start <= at < shown[0].stop for at in frames)
        assert seen in (2, 3)


def test_no_two_test_videos_show_the_same(tool: ModuleType) -> None:
    argv = ["--train-videos", "1", "--test-videos", "80", "--video-side", "16"]
    keys = [video.key for video in tool.draw_videos(tool.options_of(tool.parse_args(argv)))][1:]
    assert len(set(keys)) == 80


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--test-videos", "0"], "--test-videos: 0 must be at least 1"),
        (["--stills", "-1"], "--stills: -1 must be at least 0"),
        (["--new-words", "2"], "--new-words: 2 must be at most 1"),
    ],
)
def test_bad_options_are_named(
    tool: ModuleType, argv: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit):
        tool.parse_args(argv)
    assert message in capsys.readouterr().err
