"""Frames are drawn before anything is decoded, and what lies between them is passed over."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from tests.test_datasets.test_transforms.test_pyav import write
from uniadapter.datasets import MediaError
from uniadapter.datasets.transforms import LoadVideo, VideoBackend, backends, open_media


def spoil(path: Path, first: int, last: int) -> None:
    """Overwrite the data of some frames, counted as they lie in the file."""
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    for start, size in packets[first : last + 1]:
        # Behind the length of the unit, so that only its content is wrong.
        data[start + 4 : start + size] = bytes(size - 4)
    path.write_bytes(bytes(data))


def frames_or_error(path: Path, backend: str, wanted: list[int]) -> np.ndarray | MediaError:
    reader = open_media(str(path), backend)
    assert len(reader) == 200
    try:
        return reader.get_frames(wanted)
    except MediaError as error:
        return error


# decord feeds its decoding thread for as long as that has no frame ready, which on a busy machine
# may reach the spoilt frames: it gets several attempts, the other reader one.
@pytest.mark.parametrize(("backend", "attempts"), [("decord", 8), ("av", 1)])
def test_groups_without_a_wanted_frame_are_not_decoded(
    tmp_path: Path, backend: str, attempts: int
) -> None:
    path = write(tmp_path / "a.mp4", "libx264", frames=200, gop=10)
    # decord decodes some twenty frames ahead, so the spoilt ones are further off.
    wanted = [3, 183, 150, 8]
    expected = open_media(str(path), backend).get_frames(wanted)
    spoil(path, 80, 119)
    results = (frames_or_error(path, backend, wanted) for _ in range(attempts))
    found = next((r for r in results if not isinstance(r, MediaError)), None)
    assert found is not None
    assert np.array_equal(found, expected)
    with pytest.raises(MediaError, match=r"a\.mp4: frame \d+"):
        open_media(str(path), backend).get_frames([95])


def test_the_pipeline_asks_for_the_sampled_frames_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Watched(VideoBackend):
        def __init__(self, path: str) -> None:
            self.path = path

        def __len__(self) -> int:
            return 300

        def get_frames(self, indices: list[int]) -> np.ndarray:
            asked.append(indices)
            return np.zeros((len(indices), 4, 4, 3), dtype=np.uint8)

    monkeypatch.setitem(backends.BACKENDS, "decord", Watched)
    results = LoadVideo(3, backend=dict(type="decord")).transform({"media_path": "a.mp4"})
    assert asked == [[50, 150, 250]]
    assert results["frame_indices"].tolist() == [50, 150, 250]
