"""Extraction of CLIP's features: as a naive one, in any number of processes, resumed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.test_datasets.conftest import write_video
from tools.dataset_converters import convert_features, extract_clip_frames, extract_clip_grids
from uniadapter.apis.extraction import (
    ClipExtractor,
    ExtractionOptions,
    command,
    find_media,
    make_units,
)
from uniadapter.apis.extraction.encoders import MEAN, STD, FrameEncoder, GridEncoder
from uniadapter.apis.extraction.extractor import decode_video
from uniadapter.checkpoints.layouts.clip import export_clip
from uniadapter.datasets.feature_stores import open_features
from uniadapter.datasets.transforms import AvBackend

GRID = {"depths": [1, 1, 1, 1], "width": 4}
VIT = {"embed_dims": 16, "num_layers": 1, "num_heads": 2, "feedforward_channels": 16}
SIZE, DIM = 64, 12


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Pictures of several sizes in two folders, one truncated and one that is none."""
    root, drawn = tmp_path / "pictures", np.random.default_rng(0)
    (root / "more").mkdir(parents=True)
    for name, size in (("a.png", (70, 50)), ("b.png", (64, 64)), ("more/c.png", (33, 90))):
        Image.fromarray(drawn.integers(0, 256, (*size, 3), dtype=np.uint8)).save(root / name)
    smooth = Image.fromarray(drawn.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((120, 90))
    smooth.save(root / "cut.jpg", quality=95)
    content = (root / "cut.jpg").read_bytes()
    (root / "cut.jpg").write_bytes(content[: len(content) * 2 // 3])
    (root / "none.jpg").write_bytes(b"<html>" * 50)
    (root / "notes.txt").write_text("no picture")
    return root


def grids(pictures: Path, out: Path, *more: str) -> int:
    line = [str(pictures), str(out), "--weights", "random", "--arch", json.dumps(GRID)]
    sizes = ["--size", str(SIZE), "--workers", "0", "--device", "cpu", "--shard-size", "2"]
    sizes += ["--format", "npz"]
    return extract_clip_grids.main([*line, *sizes, *more])


def naive_grid(path: Path, model: torch.nn.Module) -> np.ndarray:
    image = Image.open(path).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    pixels = (np.asarray(image) / 255 - np.array(MEAN)) / np.array(STD)
    with torch.no_grad():
        found = model(torch.tensor(pixels, dtype=torch.float32).permute(2, 0, 1)[None])[0]
    channels, rows, columns = found.shape
    grid = np.zeros((rows * columns, channels), np.float16)
    for y in range(rows):
        for x in range(columns):
            grid[columns * y + x] = found[:, y, x].numpy().astype(np.float16)
    return grid


def random_grid_model(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return GridEncoder(GRID).model.eval()


def test_grids_as_a_naive_extraction(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    assert grids(pictures, out) == 1
    said = capsys.readouterr().out
    assert "5 files: 4 extracted, 0 there already, 1 faults" in said
    assert "none.jpg: is no picture" in said
    store = open_features({"type": "npz", "root": str(out), "shape": (4, 128)})
    assert store.names() == ["a", "b", "c", "cut"]
    model = random_grid_model()
    for name in ("a.png", "b.png", "more/c.png"):
        wanted, stem = naive_grid(pictures / name, model), Path(name).stem
        assert store.load(stem).dtype == np.float16
        np.testing.assert_allclose(store.read(stem), wanted, rtol=2e-3, atol=1e-4)


def test_a_run_that_was_interrupted(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    (pictures / "none.jpg").unlink()
    assert grids(pictures, out) == 0
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    (out / "b.npz").unlink()
    assert grids(pictures, out) == 0
    assert "4 files: 1 extracted, 3 there already, 0 faults" in capsys.readouterr().out
    after = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"b.npz"}
    # With anything else it would be a mixture.
    for more in (["--seed", "1"], ["--size", "96"]):
        with pytest.raises(SystemExit, match="the features there were extracted with another"):
            grids(pictures, out, *more)


def test_processes_share_the_work(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pictures / "none.jpg").unlink()
    assert grids(pictures, tmp_path / "one") == 0
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        assert grids(pictures, tmp_path / "two", "--workers", "2") == 0
        there = len(list((tmp_path / "two").glob("*.npz")))
        assert there == (2 if rank == "0" else 4)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


@pytest.mark.parametrize("kind", ["parquet", "hdf5"])
def test_other_kinds_hold_the_same(
    kind: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    pytest.importorskip({"parquet": "pyarrow", "hdf5": "h5py"}[kind])
    for form in (kind, "npz"):
        assert grids(pictures, tmp_path / form, "--format", form) == 1
    first, second = (
        open_features({"type": form, "root": str(tmp_path / form), "shape": (4, 128)})
        for form in (kind, "npz")
    )
    assert first.names() == second.names() == ["a", "b", "c", "cut"]
    for name in first.names():
        assert np.array_equal(first.load(name), second.load(name))
        assert first.load(name).dtype == np.float16
    capsys.readouterr()
    assert grids(pictures, tmp_path / kind, "--format", kind) == 1
    assert "5 files: 0 extracted, 4 there already, 1 faults" in capsys.readouterr().out
    line = [kind, str(tmp_path / kind), "npz", str(tmp_path / "copy")]
    assert convert_features.main(line) == 0
    for path in (tmp_path / "copy").iterdir():
        assert path.read_bytes() == (tmp_path / "npz" / path.name).read_bytes()
    back = ["npz", str(tmp_path / "npz"), kind, str(tmp_path / "back")]
    assert convert_features.main(back) == 0
    third = open_features({"type": kind, "root": str(tmp_path / "back"), "shape": (4, 128)})
    assert all(np.array_equal(third.load(n), second.load(n)) for n in second.names())


def test_published_weights_of_grids(pictures: Path, tmp_path: Path) -> None:
    model = random_grid_model(7)
    state = {f"visual.{name}": tensor for name, tensor in model.state_dict().items()}
    state |= {
        "visual.attnpool.positional_embedding": torch.ones(5, 8),
        "logit_scale": torch.ones(()),
    }
    torch.save(state, tmp_path / "RN.pt")
    assert grids(pictures, tmp_path / "out", "--weights", str(tmp_path / "RN.pt"))
    store = open_features({"type": "npz", "root": str(tmp_path / "out"), "shape": (4, 128)})
    wanted = naive_grid(pictures / "a.png", model)
    np.testing.assert_allclose(store.read("a"), wanted, rtol=2e-3, atol=1e-4)
    other = json.dumps({"depths": [2, 1, 1, 1], "width": 4})
    with pytest.raises(SystemExit, match=r"RN.pt is not of arch=.*tensors are missing"):
        grids(pictures, tmp_path / "x", "--weights", str(tmp_path / "RN.pt"), "--arch", other)


def options_of(out: Path, **more: Any) -> ExtractionOptions:
    sizes: dict[str, Any] = dict(size=SIZE, embed_dim=DIM, arch=VIT)
    plain: dict[str, Any] = dict(what="frames", out=str(out), kind="npz", weights="random")
    return ExtractionOptions(**{**plain, **sizes, **more})


def test_frames_of_videos(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    # 2.4 seconds at frames of 40 and 80 ms; one shorter than the period; and none.
    write_video(videos / "long.mp4", num_frames=40, durations=(40, 80))
    write_video(videos / "short.mp4", num_frames=10, width=120)
    (videos / "none.mp4").write_bytes(b"<html>" * 50)
    torch.manual_seed(3)
    model = FrameEncoder(VIT, SIZE, DIM).eval()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.save(export_clip(state)[0], tmp_path / "ViT.pt")
    line = [str(videos), str(out), "--weights", str(tmp_path / "ViT.pt"), "--arch", json.dumps(VIT)]
    line += ["--size", str(SIZE), "--embed-dim", str(DIM), "--workers", "2", "--device", "cpu"]
    assert extract_clip_frames.main([*line, "--period", "0.6"]) == 1
    assert "3 files: 2 extracted, 0 there already, 1 faults" in capsys.readouterr().out
    store = open_features({"type": "npz", "root": str(out), "shape": (None, DIM)})
    for name, count in (("long", 4), ("short", 2)):
        reader = AvBackend(str(videos / f"{name}.mp4"))
        spans = reader.spans()
        rows = []
        for place in range(count):
            middle = spans[0, 0] + (place + 0.5) / count * (spans[-1, 1] - spans[0, 0])
            shown = int(np.searchsorted(spans[:, 0], middle, side="right")) - 1
            frame = reader.get_frames([shown])[0]
            rows.append(naive_embedding(frame, model))
        assert store.load(name).dtype == np.float16
        np.testing.assert_allclose(store.read(name), np.stack(rows), rtol=2e-3, atol=2e-3)


def naive_embedding(frame: np.ndarray, model: FrameEncoder) -> np.ndarray:
    height, width = frame.shape[:2]
    assert height <= width
    wide = int(SIZE * width / height)
    image = Image.fromarray(frame).resize((wide, SIZE), Image.Resampling.BICUBIC)
    left = round((wide - SIZE) / 2)
    pixels = np.asarray(image)[:, left : left + SIZE] / 255
    pixels = (pixels - np.array(MEAN)) / np.array(STD)
    x = torch.tensor(pixels, dtype=torch.float32).permute(2, 0, 1)[None]
    with torch.no_grad():
        states = model.visual.model(pixel_values=x).last_hidden_state[:, 0]
        found = model.visual.model.post_layernorm(states) @ model.vision_proj.weight.t()
    return found[0].numpy()


def test_a_second_and_a_half(tmp_path: Path) -> None:
    # 7 seconds in steps of 0.5: five stretches of 1.4 seconds, by 7 / 1.5 rounded.
    path = write_video(tmp_path / "a.mp4", num_frames=14, durations=(500,))
    assert len(decode_video(str(path), 32, 1.5)) == 5
    path = write_video(tmp_path / "b.mp4", num_frames=1)
    assert len(decode_video(str(path), 32, 1.5)) == 1


def test_pieces_of_work(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    for name in ("b.mp4", "a.mp4", "x/c.avi", "d.txt"):
        (tmp_path / name).touch()
    media = find_media(str(tmp_path), "frames")
    assert list(media) == ["a", "b", "c"]
    units = [json.loads(unit) for unit in make_units(media, 2)]
    assert [unit["names"] for unit in units] == [["a", "b"], ["c"]]
    assert [unit["shard"] for unit in units] == ["part-00000", "part-00001"]
    (tmp_path / "x" / "a.mov").touch()
    with pytest.raises(ValueError, match="would both be 'a'"):
        find_media(str(tmp_path), "frames")
    with pytest.raises(FileNotFoundError, match="holds no file"):
        find_media(str(tmp_path), "grids")
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        find_media(str(tmp_path / "y"), "grids")


def test_what_the_tools_refuse(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x.npz").touch()
    with pytest.raises(SystemExit, match="holds files, but no features.json"):
        grids(pictures, tmp_path / "full")
    with pytest.raises(SystemExit, match=r"x.pt does not exist: --weights is CLIP's"):
        grids(pictures, tmp_path / "out", "--weights", str(tmp_path / "x.pt"))
    # Nothing says afterwards that features were made by these.
    (tmp_path / "x.pt").write_bytes(b"no weights")
    with pytest.raises(SystemExit, match=r"x\.pt"):
        grids(pictures, tmp_path / "out", "--weights", str(tmp_path / "x.pt"))
    assert not list((tmp_path / "out").glob("*"))
    for line in (["--size", "50"], ["--shard-size", "0"], ["--ray", "0"], ["--arch", "{"]):
        with pytest.raises(SystemExit):
            grids(pictures, tmp_path / "out", *line)
    with pytest.raises(SystemExit, match="holds no features of kind npz"):
        convert_features.main(["npz", str(pictures), "npz", str(tmp_path / "out")])


@pytest.mark.deep
def test_two_actors_of_ray(pictures: Path, tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    assert grids(pictures, tmp_path / "one") == 1
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    ray.init(num_cpus=2, include_dashboard=False, runtime_env={"env_vars": {"PYTHONPATH": paths}})
    try:
        assert grids(pictures, tmp_path / "two", "--ray", "2") == 1
    finally:
        ray.shutdown()
    for path in (tmp_path / "one").glob("*.npz"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_actors_have_devices_of_other_machines(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(command, "by_ray", lambda *arguments: asked.append(arguments[3:]) or ())
    assert grids(pictures, tmp_path / "out", "--device", "cuda:77", "--ray", "3") == 0
    assert asked == [(3, True)]
    for more in (["--device", "cuda:77"], ["--device", "no", "--ray", "3"]):
        with pytest.raises(SystemExit, match="device '(cuda:77|no)'"):
            grids(pictures, tmp_path / "out", *more)


def test_the_callable_of_all_engines(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    for name in "ab":
        write_video(tmp_path / "v" / f"{name}.mp4", num_frames=3)
    extractor = ClipExtractor(options_of(tmp_path / "out"))
    units = make_units(find_media(str(tmp_path / "v"), "frames"), 1)
    reports = extractor({"unit": np.array(units, dtype=object)})["report"]
    wanted = {"media": 1, "there": 0, "faults": []}
    assert [json.loads(report) for report in reports] == [wanted, wanted]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.npz", "b.npz"]
