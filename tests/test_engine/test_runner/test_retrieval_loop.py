from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from torch import Tensor, nn

from tests.test_engine.test_runner.retrieval_stubs import (
    FakeRunner,
    Recorder,
    Split,
    StubModel,
    build,
    expected_scores,
    loader,
    positives,
)
from uniadapter.engine.runner import RetrievalTestLoop, RetrievalValLoop
from uniadapter.evaluation.functional import ranks_of_best_positives, retrieval_measures


@pytest.mark.parametrize("pfa", [True, False])
@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_scores_equal_a_loop_over_pairs(pfa: bool, weight: float) -> None:
    split, model = Split(7), StubModel(pfa)
    loop = RetrievalTestLoop(
        FakeRunner(model), loader(split), Recorder(), k_test=3, itc_weight=weight, text_batch=3
    )
    metrics = loop.run()
    with torch.no_grad():
        expected = expected_scores(split, model, 3, weight)
    for direction, name in enumerate(("t2v", "v2t")):
        got = torch.cat(loop.evaluator.rows[direction])
        torch.testing.assert_close(got, expected[direction], rtol=1e-5, atol=1e-5)
        assert loop.evaluator.positives[direction] == positives(split)[direction]
        ranks = ranks_of_best_positives(expected[direction], positives(split)[direction])
        for key, value in retrieval_measures(ranks).items():
            assert metrics[f"{name}/{key}"] == value
    assert metrics["skipped"] == 0


def test_every_pair_of_the_union_is_scored_once() -> None:
    split, model = Split(7), StubModel()
    build(model, loader(split)).run()
    with torch.no_grad():
        t2v, v2t = expected_scores(split, model, 3, 0.0)
    assert sum(model.scored) == int(((t2v > -100) | (v2t.t() > -100)).sum())


@pytest.mark.parametrize("k_test", [0, None])
def test_without_re_ranking_the_similarity_ranks(k_test: int | None) -> None:
    split, model = Split(5), StubModel()
    loop = RetrievalTestLoop(FakeRunner(model), loader(split), Recorder(), k_test=k_test)
    loop.run()
    assert model.scored == []
    t2v, v2t = (torch.cat(rows) for rows in loop.evaluator.rows)
    assert t2v.shape == (9, 5)
    assert torch.equal(t2v.t(), v2t)
    assert t2v.abs().max() <= 1 + 1e-6


def test_gallery_in_half_precision_is_close() -> None:
    split, model = Split(6), StubModel()
    rows = []
    for dtype in ("float32", "float16", "bfloat16"):
        loop = RetrievalTestLoop(
            FakeRunner(model), loader(split), Recorder(), k_test=6, gallery_dtype=dtype
        )
        loop.run()
        rows.append(torch.cat(loop.evaluator.rows[0]))
    assert not torch.equal(rows[0], rows[1])
    torch.testing.assert_close(rows[0], rows[1], rtol=1e-2, atol=1e-1)
    torch.testing.assert_close(rows[0], rows[2], rtol=1e-1, atol=1.0)


@pytest.mark.parametrize("options", [dict(amp_dtype="bfloat16"), dict(fp16=True)])
def test_autocast(options: dict) -> None:
    seen: list[torch.dtype] = []

    class Watching(StubModel):
        def encode_text(
            self, ids: Tensor, mask: Tensor, class_only: bool = False
        ) -> tuple[Tensor, Tensor]:
            seen.append((self.words[:2] @ self.words[:2].t()).dtype)
            return super().encode_text(ids, mask)

    metrics = build(Watching(), loader(Split(5)), **options).run()
    assert set(seen) == {torch.float16 if options.get("fp16") else torch.bfloat16}
    assert metrics["t2v/R5"] > 0


def test_dump_lists_the_best_media_of_every_text(tmp_path: Path) -> None:
    split, model = Split(7), StubModel()
    path = tmp_path / "new" / "ranking.json"
    build(model, loader(split), dump=str(path)).run()
    ranking = json.loads(path.read_text())
    with torch.no_grad():
        t2v, _ = expected_scores(split, model, 3, 0.0)
    assert ranking["texts"] == [text for v in range(7) for text in split.texts(v)]
    assert ranking["media"][2] == {"id": "video2", "path": "videos/2.mp4"}
    assert ranking["positives"] == [p[0] for p in positives(split)[0]]
    assert ranking["skipped"] == []
    right = t2v.gather(1, torch.tensor(ranking["positives"])[:, None])
    # What is as good as the right one counts as ahead of it.
    assert ranking["ranks"] == (t2v >= right).sum(1).tolist()
    for scores, top in zip(t2v, ranking["top"], strict=True):
        best = scores.topk(3)
        assert [medium for medium, _ in top] == best.indices.tolist()
        assert [score for _, score in top] == pytest.approx(best.values.tolist(), abs=1e-4)


@pytest.mark.parametrize(
    ("kind", "stage"), [(RetrievalValLoop, "val"), (RetrievalTestLoop, "test")]
)
def test_hooks_and_modes(kind: type, stage: str) -> None:
    model = StubModel().train()
    loop = build(model, loader(Split(3)), kind)
    loop.run()
    assert loop.runner.hooks == [
        f"before_{stage}",
        f"before_{stage}_epoch",
        *[f"before_{stage}_iter", f"after_{stage}_iter"] * 2,
        f"after_{stage}_epoch",
        f"after_{stage}",
    ]
    assert model.modes == [False, False]


def test_progress_with_time_left(caplog: pytest.LogCaptureFixture) -> None:
    logger = MMLogger.get_instance("retrieval-progress")
    logger.addHandler(caplog.handler)
    build(StubModel(), loader(Split(4)), log_seconds=0.0).run()
    logger.removeHandler(caplog.handler)
    assert "Encoding [1/2]  eta: 00:00:0" in caplog.text
    assert "Re-ranking [4/4]  eta: 00:00:00" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(k_test=8), r"test_cfg\.k_test = 8 is larger than the gallery: the split has 7 media"),
        (dict(k_test=-1), r"test_cfg\.k_test is the length"),
        (dict(k_test=2.5), r"test_cfg\.k_test is the length"),
        (dict(gallery_dtype="int8"), r"test_cfg\.gallery_dtype is one of"),
        (dict(amp_dtype="fp8"), r"test_cfg\.amp_dtype is None"),
        (dict(text_batch=0), r"test_cfg\.text_batch is the number"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(StubModel(), loader(Split(7)), **options)


def test_validation_names_its_own_config() -> None:
    with pytest.raises(ValueError, match=r"val_cfg\.k_test = 9"):
        build(StubModel(), loader(Split(7)), RetrievalValLoop, k_test=9)


def test_nan_scores_are_an_error() -> None:
    model = StubModel()
    nn.init.constant_(model.words, float("nan"))
    with pytest.raises(ValueError, match="NaN"):
        build(model, loader(Split(4))).run()


class KeepMetricsHook(Hook):
    def __init__(self) -> None:
        self.metrics: dict = {}

    def after_test_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        self.metrics = dict(metrics or {})


def test_in_a_runner_from_a_config(tmp_path: Path) -> None:
    hook = KeepMetricsHook()
    data = dict(
        dataset=Split(7),
        batch_size=2,
        sampler=dict(type="DefaultSampler", shuffle=False),
        collate_fn=dict(type="pseudo_collate"),
    )
    runner = Runner(
        model=StubModel(),
        work_dir=str(tmp_path),
        test_dataloader=data,
        test_evaluator=dict(type="uniadapter.RetrievalMetric", names=("t2i", "i2t")),
        test_cfg=dict(type="uniadapter.RetrievalTestLoop", k_test=4),
        custom_hooks=[hook],
        default_scope="mmengine",
        experiment_name="retrieval_loop",
    )
    metrics = runner.test()
    assert hook.metrics == metrics
    assert list(metrics)[0] == "t2i/R1"
    assert {"i2t/MdR", "t2i/RMean", "skipped"} < set(metrics)
