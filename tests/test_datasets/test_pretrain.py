from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from uniadapter.datasets import StillCaptionDataset


def write(folder: Path, images: np.ndarray, captions: object) -> dict[str, str]:
    np.save(folder / "images.npy", images)
    (folder / "captions.json").write_text(json.dumps(captions))
    return {
        "data_root": str(folder),
        "ann_file": "captions.json",
        "image_file": "images.npy",
    }


def pictures(count: int) -> np.ndarray:
    return np.arange(count * 8 * 8 * 3).reshape(count, 8, 8, 3).astype(np.uint8)


def test_items_in_training_and_in_testing(tmp_path: Path) -> None:
    files = write(tmp_path, pictures(3), [["a", "b"], ["c"], ["d", "e"]])
    train = StillCaptionDataset(**files)
    assert [train[i]["text"] for i in range(len(train))] == ["a", "b", "c", "d", "e"]
    assert [train[i]["media_id"] for i in range(len(train))] == [0, 0, 1, 2, 2]
    np.testing.assert_array_equal(train[2]["frames"][0], pictures(3)[1])
    test = StillCaptionDataset(**files, test_mode=True, indices=-2)
    assert [test[i]["texts"] for i in range(len(test))] == [["c"], ["d", "e"]]
    chosen = StillCaptionDataset(**files, test_mode=True, indices=[2, 0])
    assert [chosen[i]["media_id"] for i in range(2)] == [2, 0]


def test_frames_may_be_written_to(tmp_path: Path) -> None:
    files = write(tmp_path, pictures(1), [["a"]])
    dataset = StillCaptionDataset(**files)
    dataset[0]["frames"][:] = 0
    np.testing.assert_array_equal(dataset[0]["frames"][0], pictures(1)[0])


@pytest.mark.parametrize(
    ("images", "captions", "message"),
    [
        (pictures(2), [["a"]], "captions of each of the 2 stills"),
        (pictures(2), [["a"], []], "captions.json: still 1 lacks a caption"),
        (pictures(2), [["a"], [" "]], "captions.json: still 1 lacks a caption"),
        (pictures(2).astype(np.float32), [["a"], ["b"]], "uint8 is expected"),
        (pictures(2)[..., 0], [["a"], ["b"]], "uint8 is expected"),
        (pictures(0), [], "zero-length split"),
    ],
)
def test_files_that_do_not_fit(
    tmp_path: Path, images: np.ndarray, captions: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        StillCaptionDataset(**write(tmp_path, images, captions))


def test_missing_file_and_bad_indices(tmp_path: Path) -> None:
    files = write(tmp_path, pictures(2), [["a"], ["b"]])
    with pytest.raises(ValueError, match="indices = 0 leaves no still"):
        StillCaptionDataset(**files, indices=0)
    with pytest.raises(ValueError, match="indices reach beyond the 2 stills"):
        StillCaptionDataset(**files, indices=[5])
    (tmp_path / "images.npy").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="images.npy: no array of stills can be read"):
        StillCaptionDataset(**files)
    (tmp_path / "images.npy").unlink()
    with pytest.raises(FileNotFoundError, match="image_file"):
        StillCaptionDataset(**files)
