from __future__ import annotations

import numpy as np
import torch

from uniadapter.datasets.transforms import PackInputs, VideoFlip
from uniadapter.structures import MultimodalSample


def test_packing_a_flipped_sample() -> None:
    frames = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    results = {"frames": frames, "media_id": 3, "video_id": "v", "media_path": "v.mp4", "text": "t"}
    packed = PackInputs().transform(VideoFlip(1).transform({**results, "replaced": ["bad.mp4"]}))
    assert set(packed) == {"inputs", "data_samples"}
    assert packed["inputs"].dtype == torch.uint8
    assert packed["inputs"].is_contiguous()
    expected = torch.from_numpy(frames.copy()).permute(0, 3, 1, 2).flip(-1)
    assert torch.equal(packed["inputs"], expected)
    sample = packed["data_samples"]
    assert isinstance(sample, MultimodalSample)
    assert (sample.media_id, sample.video_id, sample.text) == (3, "v", "t")
    assert sample.replaced == ["bad.mp4"]
    assert sample.skipped is False
    assert "texts" not in sample


def test_facts_of_all_tasks_and_further_keys_are_handed_on() -> None:
    facts = {"question_id": 3, "answers": ["a"], "answer_weights": [1.0], "image_id": "x"}
    results = {"frames": np.zeros((1, 2, 2, 3), np.uint8), **facts, "mine": 5, "other": 6}
    sample = PackInputs(meta_keys=["mine"]).transform(results)["data_samples"]
    assert {key: sample.get(key) for key in facts} == facts
    assert sample.mine == 5
    assert "other" not in sample
    assert "mine" in repr(PackInputs(meta_keys=["mine"]))
