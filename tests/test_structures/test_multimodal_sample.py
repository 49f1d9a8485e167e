from __future__ import annotations

import pickle

from uniadapter.structures import MultimodalSample


def test_captions() -> None:
    assert MultimodalSample(metainfo={"text": "a"}).captions() == ["a"]
    assert MultimodalSample(metainfo={"texts": ["a", "b"]}).captions() == ["a", "b"]
    assert MultimodalSample().captions() == []


def test_pickle() -> None:
    sample = MultimodalSample(metainfo={"media_id": 1, "texts": ["a"], "skipped": True})
    copy = pickle.loads(pickle.dumps(sample))
    assert copy.media_id == 1
    assert copy.captions() == ["a"]
    assert copy.skipped
