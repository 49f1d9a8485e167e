"""Videos are cut into shots that have every frame once, and are read as any medium is."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config

from tests.helpers import draws, tiny_run_cfg
from tests.search_helpers import StubEngine, write_picture
from tests.test_datasets.conftest import write_video
from uniadapter.apis.inputs import InputReader
from uniadapter.datasets.transforms import AvBackend
from uniadapter.datasets.transforms.sampling import sample_frames
from uniadapter.search.engine import EncodedMedia
from uniadapter.search.index import SearchIndex
from uniadapter.search.reading import ReadOptions, cut_shots, digest_of, query_frames, read_shots
from uniadapter.search.store import Layout
from uniadapter.search.update import UpdateOptions, update_index


def reader_of(load: dict[str, Any]) -> InputReader:
    """The reader of a config that loads so."""
    cfg = tiny_run_cfg(Path("nowhere"))
    cfg["test_dataloader"]["dataset"]["pipeline"][0] = load
    return InputReader(Config(cfg))


@given(
    st.lists(st.sampled_from([0.04, 0.5, 1.0, 7.0]), min_size=1, max_size=40),
    st.sampled_from([0.0, 1.4, -2.0]),
    st.floats(0.1, 20),
)
@settings(max_examples=draws(40), deadline=None)
def test_shots_have_every_frame_once(lengths, begin, seconds):
    edges = begin + np.cumsum([0.0, *lengths])
    shots = cut_shots(np.stack([edges[:-1], edges[1:]], axis=1), seconds)
    comes, duration = edges[:-1] - edges[0], edges[-1] - edges[0]
    assert [frame for shot in shots for frame in range(shot.first, shot.stop)] == list(
        range(len(lengths))
    )
    assert (shots[0].start, shots[-1].end) == (0, pytest.approx(duration))
    for shot, after in zip(shots, shots[1:], strict=False):
        assert shot.end == after.start
    for shot in shots:
        assert shot.start / seconds == pytest.approx(round(shot.start / seconds))
        assert all(comes[shot.first : shot.stop] >= shot.start - 1e-5)
        assert all(comes[shot.first : shot.stop] < shot.end + 1e-5)
    if len(shots) > 1:
        assert shots[-1].end - shots[-1].start >= seconds / 2 - 1e-6


def test_a_video_is_read_shot_by_shot(tmp_path: Path):
    path = str(write_video(tmp_path / "a.mp4", num_frames=30, durations=(40, 120)))
    reader = reader_of({"type": "LoadVideo", "num_frames": 3})
    medium = AvBackend(path)
    comes = medium.spans()[:, 0] - medium.spans()[0, 0]
    shots = list(read_shots(reader, path, "video", ReadOptions(shot_seconds=1.0)))
    cuts = cut_shots(medium.spans(), 1.0)
    assert [(shot.start, shot.end) for shot in shots] == [cut[:2] for cut in cuts]
    assert len(cuts) == 2
    for shot, cut in zip(shots, cuts, strict=True):
        numbers = cut.first + sample_frames(cut.stop - cut.first, 3, "center")
        assert np.allclose(shot.start + shot.times, comes[numbers], atol=1e-5)
        frames = medium.get_frames(numbers.tolist())
        assert np.array_equal(shot.frames, reader.video_frames(frames).numpy())
    [whole] = read_shots(reader, path, "video", ReadOptions())
    assert np.array_equal(whole.frames, query_frames(reader, path, "video").numpy())
    # A model of pictures sees the middle of each.
    pictures = reader_of({"type": "LoadVideo", "num_frames": 1, "backend": {"type": "image"}})
    [whole] = read_shots(pictures, path, "video", ReadOptions())
    assert np.array_equal(whole.frames, pictures.image_frames(medium.get_frames([15])[0]).numpy())
    assert torch.equal(query_frames(pictures, path, "video"), torch.from_numpy(whole.frames))


@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.booleans())
@settings(max_examples=draws(10), deadline=None)
def test_rows_are_what_was_put_in(counts, tokens):
    layout = Layout(4, 3, (2, 5) if tokens else None)
    size, most = len(counts), max(counts)
    media = EncodedMedia(
        torch.randn(size, 4),
        torch.randn(size, most, 2, 5).half() if tokens else None,
        torch.randn(size, most, 5),
        torch.randn(size, most, 4),
    )
    if tokens and most < 3:
        # Tokens are of all frames that a model takes.
        return
    times = [np.arange(count) / 4 for count in counts]
    maps = layout.rows_of(media, [own.tolist() for own in times])
    found = layout.media_of(maps, np.arange(size)[::-1])
    assert torch.equal(found.features, media.features.flip(0))
    for row, count in enumerate(counts):
        mine = size - 1 - row
        assert torch.equal(found.frame_features[mine, :count], media.frame_features[row, :count])
        assert not found.frame_features[mine, count:].any()
        if tokens:
            assert torch.equal(found.frame_cls[mine, :count], media.frame_cls[row, :count])
            assert torch.equal(found.tokens[mine], media.tokens[row])
    media.features[0, 0] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        layout.rows_of(media, [own.tolist() for own in times])


def test_digests_tell_contents(tmp_path: Path):
    for name, content in [("a", b"x"), ("b", b"x"), ("c", b"y")]:
        (tmp_path / name).write_bytes(content)
        (tmp_path / f"in_{name}").mkdir()
        (tmp_path / f"in_{name}" / "one").write_bytes(content)
    found = {name: digest_of(str(tmp_path / name)) for name in os.listdir(tmp_path)}
    assert found["a"] == found["b"] != found["c"]
    assert found["in_a"] == found["in_b"] != found["in_c"]
    assert found["in_a"] != found["a"]
    (tmp_path / "in_a" / "one").rename(tmp_path / "in_a" / "two")
    assert digest_of(str(tmp_path / "in_a")) != found["in_a"]


def test_a_reader_that_dies_costs_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for number in range(4):
        write_picture(tmp_path / f"{number}.png", number)
    engine = StubEngine()
    read = engine.reader.image_frames

    def dying(image: Any) -> torch.Tensor:
        if str(image).endswith("2.png"):
            os.kill(os.getpid(), signal.SIGKILL)
        return read(image)

    monkeypatch.setattr(engine.reader, "image_frames", dying)
    index = SearchIndex.create(tmp_path / ".uniadapter", engine)
    summary = update_index(index, engine, UpdateOptions(workers=2))
    assert summary.unreadable.keys() == {"2.png"}
    assert "SIGKILL" in summary.unreadable["2.png"]
    assert (summary.files, summary.encoded) == (3, 3)
