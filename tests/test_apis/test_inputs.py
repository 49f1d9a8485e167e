"""Media from anywhere give the pixels that the test of a config sees."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from PIL import Image

from tests.helpers import ROOT, draws
from uniadapter.apis.inputs import InputReader, read_image, read_text, read_video
from uniadapter.datasets import MediaError
from uniadapter.registry import DATASETS

av = pytest.importorskip("av")


def config(folder, *steps, loader=None, kind="RetrievalJsonDataset", **dataset):
    """A config that tests on the media of a folder."""
    first = loader or {"type": "LoadVideo", "num_frames": 3, "sampling": "center"}
    pipeline = [first, *steps, {"type": "CleanCaption"}, {"type": "PackInputs"}]
    data = {"type": kind, "data_root": str(folder), "ann_file": "test.jsonl"}
    data |= {"data_prefix": {"media": ""}, "test_mode": True, "pipeline": pipeline}
    return Config({"test_dataloader": {"dataset": {**data, **dataset}}})


def item(cfg, folder, *names):
    """What the data set of a config makes of media."""
    lines = [json.dumps({"media": name, "text": "A Dog!"}) for name in names]
    (folder / "test.jsonl").write_text("\n".join(lines), encoding="utf-8")
    dataset = DATASETS.build(cfg.test_dataloader.dataset.to_dict())
    return [dataset[number]["inputs"] for number in range(len(names))]


def write_video(path, frames):
    height, width = frames.shape[1:3]
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=5)
        stream.width, stream.height, stream.pix_fmt = width, height, "bgr0"
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        file.mux(stream.encode())


RESIZE = {"type": "VideoResize", "size": 16}
pixels = st.integers(0, 2**32 - 1).map(np.random.default_rng)
sides = st.integers(1, 40)


@given(pixels, sides, sides, st.sampled_from(["RGB", "L", "RGBA", "P", "CMYK"]))
@settings(max_examples=draws(5), deadline=None)
def test_a_picture_of_any_kind_is_that_of_the_data_set(tmp_path_factory, rng, height, width, mode):
    folder = tmp_path_factory.mktemp("pictures")
    path = folder / ("a.jpg" if mode == "CMYK" else "a.png")
    channels = {"RGB": 3, "L": 1, "RGBA": 4, "P": 1, "CMYK": 4}[mode]
    array = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
    array = array[:, :, 0] if channels == 1 else array
    Image.fromarray(array, mode=None if mode != "CMYK" else "CMYK").save(path)
    cfg = config(folder, RESIZE)
    reader, (wanted,) = InputReader(cfg), item(cfg, folder, path.name)
    content = path.read_bytes()
    forms = [path, str(path), content, bytearray(content), io.BytesIO(content), Image.open(path)]
    if mode in ("RGB", "L", "RGBA"):
        forms += [array, torch.from_numpy(array if channels == 1 else np.moveaxis(array, -1, 0))]
    with open(path, "rb") as file:
        forms.append(file)
        given_back = reader.read_image(forms)
    assert [torch.equal(found, wanted) for found in given_back] == [True] * len(forms)
    assert all(torch.equal(reader.read_video(form), wanted) for form in (path, content))


# The encoder that loses nothing refuses some sizes with a side of one pixel.
@given(pixels, st.integers(1, 9), st.integers(2, 40), st.integers(2, 40), st.booleans())
@settings(max_examples=draws(3), deadline=None)
def test_a_video_of_any_kind_is_that_of_the_data_set(
    tmp_path_factory, rng, length, height, width, seconds
):
    folder = tmp_path_factory.mktemp("videos")
    frames = rng.integers(0, 256, (length, height, width, 3), dtype=np.uint8)
    write_video(folder / "a.mkv", frames)
    (folder / "frames").mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / "frames" / f"{number:03}.png")
    loader = {"type": "LoadSeconds", "max_frames": 4, "rate": 5.0} if seconds else None
    cfg = config(folder, RESIZE, loader=loader, extensions=[".mkv", ""])
    reader = InputReader(cfg)
    wanted = item(cfg, folder, "a.mkv", "frames")
    assert torch.equal(*wanted)
    content = (folder / "a.mkv").read_bytes()
    forms = [folder / "a.mkv", str(folder / "frames"), content, io.BytesIO(content), frames]
    forms += [torch.from_numpy(frames).permute(0, 3, 1, 2), list(frames)]
    forms += [tuple(Image.fromarray(frame) for frame in frames)]
    found = reader.read_video(forms)
    assert [torch.equal(video, wanted[0]) for video in found] == [True] * len(forms)
    batch = reader.read_video(np.stack([frames, frames[::-1]]))
    assert torch.equal(batch[0], wanted[0])
    assert len(batch) == 2


def test_the_note_of_orientation_counts_in_every_form(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.fromarray(np.arange(60, dtype=np.uint8).reshape(4, 5, 3))
    picture.save(tmp_path / "a.png", exif=exif)
    path = tmp_path / "a.png"
    cfg = config(tmp_path)
    (wanted,) = item(cfg, tmp_path, "a.png")
    assert wanted.shape == (3, 3, 5, 4)
    for form in (path, path.read_bytes(), Image.open(path)):
        assert torch.equal(read_image(form, cfg), wanted)


def test_many_pictures_are_a_list(tmp_path):
    array = np.zeros((2, 8, 9, 3), np.uint8)
    cfg = config(tmp_path, RESIZE)
    assert [part.shape for part in read_image(array, cfg)] == [(3, 3, 16, 16)] * 2
    tensor = torch.from_numpy(array).permute(0, 3, 1, 2)
    assert len(read_image(tensor, cfg)) == len(read_image([array[0]] * 2, cfg)) == 2
    assert read_image([], cfg) == []


def test_frames_that_only_come_decoded_are_brought_to_the_tower_s_size(tmp_path):
    stills = np.random.default_rng(0).integers(0, 256, (2, 24, 24, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", stills)
    (tmp_path / "test.jsonl").write_text(json.dumps([["A dog!"], ["a cat"]]))
    pipeline = [{"type": "CleanCaption"}, {"type": "PackInputs"}]
    data = {"type": "StillCaptionDataset", "data_root": str(tmp_path), "ann_file": "test.jsonl"}
    data |= {"image_file": "images.npy", "test_mode": True, "pipeline": pipeline}
    cfg = Config({"model": {"visual": {"img_size": 24}}, "val_dataloader": {"dataset": data}})
    dataset = DATASETS.build(dict(data))
    for number, still in enumerate(stills):
        assert torch.equal(read_image(still, cfg), dataset[number]["inputs"])
    assert read_image(np.zeros((50, 30, 3), np.uint8), cfg).shape == (1, 3, 24, 24)
    with pytest.raises(ValueError, match="no img_size"):
        InputReader(Config({"val_dataloader": {"dataset": data}}))


def test_grounding_needs_no_box(tmp_path):
    steps = [{"type": "CheckPicture"}, {"type": "BoxResize", "sizes": [20], "longest": 60}]
    cfg = config(tmp_path, *steps, loader={"type": "LoadVideo", "num_frames": 1})
    assert read_image(np.zeros((40, 60, 3), np.uint8), cfg).shape == (1, 3, 20, 30)


def test_texts_are_cleaned_as_the_test_cleans_them(tmp_path):
    cfg = config(tmp_path)
    assert read_text("A Dog (runs)!", cfg) == "a dog runs"
    assert read_text(["A", "B."], cfg) == ["a", "b"]
    cfg.test_dataloader.dataset.pipeline[1] = {"type": "CleanQuestion"}
    assert read_text("What's IT?", cfg) == "what's it?"
    for wrong in (" ", 3, [3], b"a"):
        with pytest.raises(ValueError, match="text"):
            read_text(wrong, cfg)


SMALL = np.zeros((5, 6, 3), np.uint8)
WRONG = [
    (SMALL.astype(np.float32), "uint8"),
    (torch.zeros(3, 5, 6), "uint8"),
    (np.moveaxis(SMALL, -1, 0), "channels last"),
    (torch.from_numpy(SMALL), "channels last"),
    (SMALL[:0], "none is empty"),
    ("https://example.org/a.png", "not fetched"),
    (io.StringIO("text"), "opened as a text"),
    (3, "A picture is a path"),
]


@pytest.mark.parametrize(("wrong", "said"), WRONG, ids=[said for _, said in WRONG])
def test_what_is_no_picture_is_named(tmp_path, wrong, said):
    reader = InputReader(config(tmp_path))
    with pytest.raises(ValueError, match=said):
        reader.read_image(wrong)
    with pytest.raises(ValueError, match=said):
        reader.read_video(wrong)


def test_unreadable_media_are_named(tmp_path):
    reader = InputReader(config(tmp_path))
    for read in (reader.read_image, reader.read_video):
        for wrong, said in [
            (tmp_path / "none.png", r"none\.png: does not exist"),
            (b"", r"<0 bytes>: the file is empty"),
            (b"no picture at all", "<17 bytes>"),
            (io.BytesIO(), r"<BytesIO>: the file is empty, or was read before: seek\(0\)"),
        ]:
            with pytest.raises(MediaError, match=said):
                read(wrong)
    with pytest.raises(ValueError, match="one size"):
        reader.read_video([[SMALL, SMALL[1:]]])
    with pytest.raises(ValueError, match="one size"):
        reader.read_video([[]])


def test_a_frame_a_second_needs_a_rate(tmp_path):
    cfg = config(tmp_path, RESIZE, loader={"type": "LoadSeconds", "max_frames": 4})
    frames = np.stack([SMALL] * 6)
    with pytest.raises(MediaError, match="frames a second"):
        read_video(frames, cfg)
    assert len(read_video(frames, cfg, fps=2.0)) == 3


def test_a_config_of_pictures_takes_no_video(tmp_path):
    loader = {"type": "LoadVideo", "num_frames": 1, "backend": {"type": "image"}}
    reader = InputReader(config(tmp_path, loader=loader))
    with pytest.raises(ValueError, match="tests on pictures, and this is a video of 2 frames"):
        reader.read_video(np.stack([SMALL] * 2))
    write_video(tmp_path / "a.mkv", np.stack([SMALL] * 2))
    with pytest.raises(MediaError, match="no picture"):
        reader.read_video(tmp_path / "a.mkv")
    assert reader.read_video(SMALL).shape == (1, 3, 5, 6)


def test_a_config_without_pictures_is_refused():
    with pytest.raises(ValueError, match="PackInputs"):
        InputReader(ROOT / "configs/tiny/t5_mrpc_full_finetune.py")
    with pytest.raises(ValueError, match="init_model or get_model"):
        InputReader(torch.nn.Linear(1, 1))
    with pytest.raises(FileNotFoundError):
        InputReader(Path("no_such_config.py"))
