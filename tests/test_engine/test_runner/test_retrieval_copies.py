"""Equal texts and equal media tie exactly, however they were batched, dealt and ordered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.helpers import IMAGE_SIZE
from tests.spawn import spawn
from tests.test_engine.test_runner.retrieval_stubs import FakeRunner, Recorder, Split, loader
from tests.test_engine.test_runner.test_retrieval_loop_model import _batch, _model
from uniadapter.engine.runner import RetrievalTestLoop
from uniadapter.evaluation.functional import ranks_of_best_positives, retrieval_measures
from uniadapter.models.tasks.retrieval import RetrievalModel

# Of different lengths, so that the padding around a text depends on its neighbours.
CAPTIONS = ["a red dot", "A red dot", "blue", "a green square moves", "white cross moves " * 4, ""]
PFA = {"type": "FrameAwareAttention"}

Media = list[tuple[int, list[int]]]
"""Of every medium the number of its pixels and those of its captions."""


class CopySplit(Split):
    """Media of few kinds with captions of few kinds."""

    def __init__(self, media: Media) -> None:
        super().__init__(len(media))
        self.media = media

    def texts(self, index: int) -> list[str]:
        return [CAPTIONS[caption] for caption in self.media[index][1]]

    def __getitem__(self, index: int) -> dict:
        generator = torch.Generator().manual_seed(self.media[index][0])
        item = super().__getitem__(index)
        shape = (2, 3, IMAGE_SIZE, IMAGE_SIZE)
        item["inputs"] = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        return item


def _run(
    model: RetrievalModel, media: Media, batch: int = 2, rank: int = 0, world: int = 1, **opts: Any
) -> tuple[dict[str, float], list[Tensor]]:
    data = loader(CopySplit(media), batch, rank, world, round_up=False)
    loop = RetrievalTestLoop(FakeRunner(model), data, Recorder(), **opts)
    return loop.run(), [torch.cat(rows) for rows in loop.evaluator.rows]


@torch.no_grad()
def _plain(model: RetrievalModel, media: Media, k: int, weight: float) -> dict[str, float]:
    """The measures by their definition: kinds encoded alone, ranks by kinds."""
    split = CopySplit(media)
    kinds = sorted({kind for kind, _ in media})
    pixels = [split[[m[0] for m in media].index(kind)] for kind in kinds]
    seen = [model.encode_visual(model.data_preprocessor(_batch(item))["pixels"]) for item in pixels]
    words = {c: model.data_preprocessor.tokenizer([CAPTIONS[c]]) for _, own in media for c in own}
    ids = sorted({tuple(word[0][0].tolist()) for word in words.values()})
    sims, logits = torch.zeros(len(ids), len(kinds)), torch.zeros(len(ids), len(kinds))
    for t, row in enumerate(ids):
        text = torch.tensor([row]), torch.ones(1, len(row), dtype=torch.long)
        feature = model.encode_text(*text)[1]
        for v, (tokens, whole, frames) in enumerate(seen):
            sims[t, v] = feature[0] @ whole[0]
            logits[t, v] = model.match(*text, tokens, (frames * feature[:, None]).sum(-1))[0, 1]
    text_kind = [ids.index(tuple(words[c][0][0].tolist())) for _, own in media for c in own]
    media_kind = [kinds.index(kind) for kind, _ in media]
    owner = [v for v, (_, own) in enumerate(media) for _ in own]
    right = [[t for t, o in enumerate(owner) if o == v] for v in range(len(media))]
    metrics = {}
    for name, similar, logit, rows, columns, positives in (
        ("t2v", sims, logits, text_kind, media_kind, [[v] for v in owner]),
        ("v2t", sims.t(), logits.t(), media_kind, text_kind, right),
    ):
        scores = similar
        if k:
            best = similar.topk(min(k, similar.shape[1]), dim=1).indices
            listed = torch.zeros(similar.shape, dtype=torch.bool).scatter(1, best, True)
            scores = torch.where(listed, logit + weight * similar, -100.0)
        ranks = ranks_of_best_positives(scores[rows][:, columns], positives)
        metrics |= {f"{name}/{key}": value for key, value in retrieval_measures(ranks).items()}
    return {**metrics, "skipped": 0}


MEDIA = st.lists(
    st.tuples(
        st.integers(0, 3), st.lists(st.integers(0, len(CAPTIONS) - 1), min_size=1, max_size=3)
    ),
    min_size=1,
    max_size=7,
)


@settings(max_examples=8, deadline=None)
@given(
    media=MEDIA,
    k=st.integers(0, 3),
    weight=st.sampled_from([0.0, 1.0]),
    rng=st.randoms(use_true_random=False),
)
def test_measures_are_those_of_the_kinds(
    media: Media, k: int, weight: float, rng: Any, tiny_vocab: Path
) -> None:
    model, k = _model(tiny_vocab, PFA), min(k, len(media))
    expected = _plain(model, media, k, weight)
    for _ in range(2):
        options = dict(k_test=k, itc_weight=weight, text_batch=rng.randint(1, 9))
        metrics, (t2v, v2t) = _run(model, media, rng.randint(1, 8), **options)
        assert metrics == pytest.approx(expected, abs=1e-9)
        if not k:
            assert torch.equal(t2v.t(), v2t)
        media = rng.sample(media, len(media))


def test_one_caption_on_all_media_is_no_luck(tiny_vocab: Path) -> None:
    media = [(kind, [4, 0] if kind % 2 else [0]) for kind in range(6)]
    for batch in (1, 2, 3, 6):
        metrics, _ = _run(_model(tiny_vocab, PFA), media, batch, k_test=3)
        assert metrics["v2t/R1"] == 0.0


def test_one_video_under_many_names_is_no_luck(tiny_vocab: Path) -> None:
    media = [(7, [index]) for index in range(5)]
    for k_test in (0, 2):
        for batch in (1, 2, 5):
            metrics, _ = _run(_model(tiny_vocab, PFA), media, batch, k_test=k_test)
            assert metrics["t2v/R1"] == 0.0
            assert metrics["t2v/MdR"] == 5


CASES: list[Media] = [
    [(0, [0]), (1, [0]), (0, [2, 3]), (2, [1]), (1, [4, 0])],
    [(3, [4]), (3, [4]), (3, [0, 4])],
    [(0, [5])],
]


def _rank(rank: int, world: int, vocab: Path, expected: list) -> None:
    for media, (metrics, rows) in zip(CASES, expected, strict=True):
        found, own = _run(_model(vocab, PFA), media, 2, rank, world, k_test=1, itc_weight=0.5)
        assert found == metrics
        for a, b in zip(own, rows, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_two_processes_rank_as_one(tiny_vocab: Path) -> None:
    runs = [_run(_model(tiny_vocab, PFA), m, 3, k_test=1, itc_weight=0.5) for m in CASES]
    spawn(_rank, 2, tiny_vocab, runs)
