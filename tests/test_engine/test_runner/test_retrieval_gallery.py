from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.spawn import spawn
from tests.test_engine.test_runner.retrieval_stubs import (
    FakeRunner,
    Recorder,
    Split,
    StubModel,
    StubPreprocessor,
    build,
    loader,
)
from uniadapter.engine.runner import RetrievalTestLoop


def test_skipped_media_are_left_out_and_listed(caplog: pytest.LogCaptureFixture) -> None:
    model = StubModel()
    loop = RetrievalTestLoop(
        FakeRunner(model), loader(Split(7, skipped=(0, 1, 4))), Recorder(), k_test=6
    )
    with caplog.at_level(logging.WARNING, logger="retrieval-test"):
        metrics = loop.run()
    assert metrics["skipped"] == 3
    t2v, v2t = loop.evaluator.rows
    # Media 2, 3, 5, 6 have 3 + 1 + 3 + 1 captions.
    assert torch.cat(t2v).shape == (8, 4)
    assert loop.evaluator.positives[1] == [[0, 1, 2], [3], [4, 5, 6], [7]]
    names = ["videos/0.mp4", "videos/1.mp4", "videos/4.mp4"]
    assert loop.runner.info["skipped_media_test"] == names
    assert "3 media could not be read" in caplog.text
    assert "videos/4.mp4" in caplog.text


class BrokenSplit(Split):
    """Changes the samples of a good split."""

    def __init__(self, num_media: int, **changes: Any) -> None:
        super().__init__(num_media)
        self.changes = changes

    def __getitem__(self, index: int) -> dict:
        item = super().__getitem__(index)
        item["data_samples"].set_metainfo(self.changes)
        return item


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (BrokenSplit(4, texts=[]), r"videos/0\.mp4: the sample has no 'texts'"),
        (BrokenSplit(4, media_id=3), r"videos/1\.mp4: media_id 3 is also that of videos/0\.mp4"),
        (Split(4, skipped=range(4)), "no medium of the test split could be encoded"),
    ],
)
def test_bad_data(split: Split, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(StubModel(), loader(split), k_test=2).run()


class ForgetfulPreprocessor(StubPreprocessor):
    def forward(self, data: dict, training: bool = False) -> dict[str, Any]:
        return {**super().forward(data), "input_ids": torch.ones(1, 2, dtype=torch.long)}


def test_wrong_number_of_token_sequences() -> None:
    model = StubModel()
    model.data_preprocessor = ForgetfulPreprocessor()
    with pytest.raises(ValueError, match="1 token sequences for 3 captions"):
        build(model, loader(Split(4))).run()


def _run(
    split: Split, rank: int, world: int, batch: int, round_up: bool = True
) -> tuple[dict, list[Tensor]]:
    model: nn.Module = StubModel()
    if world > 1:
        model = nn.parallel.DistributedDataParallel(model)
    data = loader(split, batch, rank, world, round_up)
    loop = RetrievalTestLoop(FakeRunner(model), data, Recorder(), k_test=2, itc_weight=0.5)
    return loop.run(), [torch.cat(rows) for rows in loop.evaluator.rows]


def _ranks_agree(rank: int, world: int, expected: list) -> None:
    for num_media, skipped, metrics, rows in expected:
        for round_up in (True, False):
            got, got_rows = _run(Split(num_media, skipped), rank, world, 2, round_up)
            assert got == metrics
            for a, b in zip(got_rows, rows, strict=True):
                torch.testing.assert_close(a, b)


@pytest.mark.parametrize("world", [2, 3])
def test_any_number_of_ranks_gives_the_same(world: int) -> None:
    # Ragged ends; ranks whose only medium is skipped, that have only a duplicate, or nothing.
    cases = [(7, ()), (7, (0, 5)), (4, (2,)), (2, ())]
    expected = [(n, skipped, *_run(Split(n, skipped), 0, 1, 3)) for n, skipped in cases]
    spawn(_ranks_agree, world, expected)
