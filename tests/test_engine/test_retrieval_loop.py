from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as torch_dist
import torch.multiprocessing as mp
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from uniadapter.engine.runner.retrieval_loop import RetrievalTestLoop, RetrievalValLoop
from uniadapter.evaluation import RetrievalMetric
from uniadapter.evaluation.functional import ranks_of_best_positives, retrieval_measures
from uniadapter.structures import MultimodalSample

FRAMES, WIDTH = 2, 8


class StubPreprocessor(BaseDataPreprocessor):
    """A caption is a line of numbers: its token ids."""

    def forward(self, data: dict, training: bool = False) -> dict[str, Any]:
        ids = [
            torch.tensor([int(word) for word in text.split()])
            for sample in data["data_samples"]
            for text in sample.texts
        ]
        padded = nn.utils.rnn.pad_sequence(ids, batch_first=True)
        return {
            "pixels": torch.stack(data["inputs"]).float() / 255,
            "input_ids": padded,
            "attention_mask": (padded > 0).long(),
            "data_samples": data["data_samples"],
        }


class StubModel(BaseModel):
    """The interface of a retrieval model, in a few lines; counts the pairs it scores."""

    def __init__(self, pfa: bool = True) -> None:
        super().__init__(data_preprocessor=StubPreprocessor())
        generator = torch.Generator().manual_seed(5)
        self.words = nn.Parameter(torch.randn(50, WIDTH, generator=generator))
        self.patch = nn.Parameter(torch.randn(3, WIDTH, generator=generator))
        self.pfa = pfa
        self.scored: list[int] = []
        self.modes: list[bool] = []

    def encode_visual(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self.modes.append(self.training or torch.is_grad_enabled())
        tokens = pixels.flatten(3).transpose(2, 3) @ self.patch
        cls = tokens[:, :, 0]
        return tokens, self._unit(cls.mean(1)), self._unit(cls)

    def encode_text(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        states = self.words[ids] * mask[..., None]
        states = states + states.sum(1, keepdim=True)
        return states, self._unit(states[:, 0])

    def frame_sims(
        self, frame_cls: Tensor, frames: Tensor, text_cls: Tensor, text: Tensor
    ) -> Tensor | None:
        if not self.pfa:
            return None
        assert frame_cls.shape[:2] == frames.shape[:2]
        assert len(text_cls) == len(text)
        return torch.einsum("vne,te->tvn", frames, text)

    def score_texts(
        self, tokens: Tensor, ids: Tensor, mask: Tensor, frame_sims: Tensor | None = None
    ) -> Tensor:
        self.scored.append(len(ids))
        return self.match_one(tokens, ids, mask, frame_sims)

    def match_one(
        self, tokens: Tensor, ids: Tensor, mask: Tensor, frame_sims: Tensor | None
    ) -> Tensor:
        frames = tokens.mean(1)
        text = (self.words[ids].sin() * mask[..., None]).sum(1)
        scores = text @ frames.t()
        return (scores if frame_sims is None else scores * frame_sims.exp()).sum(1)

    def forward(self, **kwargs: Any) -> dict[str, Tensor]:
        return {}

    @staticmethod
    def _unit(x: Tensor) -> Tensor:
        return nn.functional.normalize(x, dim=-1)


class Split:
    """Media with one to three captions; some may be unreadable."""

    def __init__(self, num_media: int, skipped: Sequence[int] = ()) -> None:
        self.num_media, self.skipped = num_media, skipped
        self.metainfo: dict = {}

    def __len__(self) -> int:
        return self.num_media

    def texts(self, index: int) -> list[str]:
        rng = torch.Generator().manual_seed(1000 + index)
        lengths = [2 + (index + i) % 4 for i in range(1 + index % 3)]
        return [
            " ".join(map(str, torch.randint(1, 50, (n,), generator=rng).tolist())) for n in lengths
        ]

    def __getitem__(self, index: int) -> dict:
        rng = torch.Generator().manual_seed(index)
        skipped = index in self.skipped
        pixels = torch.randint(0, 256, (FRAMES, 3, 2, 2), generator=rng, dtype=torch.uint8)
        sample = MultimodalSample(
            metainfo=dict(
                media_id=index,
                video_id=f"video{index}",
                media_path=f"videos/{index}.mp4",
                texts=self.texts(index),
                replaced=[],
                skipped=skipped,
            )
        )
        return {"inputs": None if skipped else pixels, "data_samples": sample}


def loader(
    split: Any, batch_size: int = 2, rank: int = 0, world: int = 1, round_up: bool = True
) -> DataLoader:
    # What DefaultSampler deals out; with round_up the last ranks see the first media again.
    size = len(split)
    rounded = -(-size // world) * world if round_up else size
    indices = [i % size for i in range(rounded)][rank::world]
    return DataLoader(split, batch_size, sampler=indices, collate_fn=pseudo_collate)


class FakeRunner(SimpleNamespace):
    """As much of a runner as a loop needs."""

    def __init__(self, model: nn.Module) -> None:
        self.hooks: list[str] = []
        self.info: dict[str, Any] = {}
        super().__init__(
            model=model,
            logger=logging.getLogger("retrieval-test"),
            visualizer=SimpleNamespace(),
            message_hub=SimpleNamespace(update_info=self.info.__setitem__),
        )

    def call_hook(self, name: str, **kwargs: Any) -> None:
        self.hooks.append(name)


def build(
    model: nn.Module, data: DataLoader, kind: type = RetrievalTestLoop, **options: Any
) -> RetrievalTestLoop:
    options.setdefault("k_test", 3)
    return kind(FakeRunner(model), data, Evaluator(RetrievalMetric()), **options)


def expected_scores(split: Split, model: StubModel, k: int, weight: float) -> list[Tensor]:
    """Both directions by loops over pairs, nothing shared, nothing cached."""
    sims: list[list[float]] = []
    itm: list[list[float]] = []
    media = [model.encode_visual(split[v]["inputs"][None].float() / 255) for v in range(len(split))]
    for v in range(len(split)):
        for text in split.texts(v):
            ids = torch.tensor([[int(word) for word in text.split()]])
            mask = torch.ones_like(ids)
            _, feature = model.encode_text(ids, mask)
            sims.append([float(feature[0] @ m[1][0]) for m in media])
            weights = [torch.einsum("ne,e->n", m[2][0], feature[0])[None] for m in media]
            itm.append(
                [
                    float(model.match_one(m[0][0], ids, mask, w if model.pfa else None))
                    for m, w in zip(media, weights, strict=True)
                ]
            )
    both = []
    for sim, logits in (
        (torch.tensor(sims), torch.tensor(itm)),
        (torch.tensor(sims).t(), torch.tensor(itm).t()),
    ):
        scores = torch.full(sim.shape, -100.0)
        for query in range(len(sim)):
            best = sorted(range(sim.shape[1]), key=lambda c: -float(sim[query, c]))[:k]
            for c in best:
                scores[query, c] = logits[query, c] + weight * sim[query, c]
        both.append(scores)
    return both


def positives(split: Split) -> list[list[list[int]]]:
    owner = [v for v in range(len(split)) for _ in split.texts(v)]
    return [
        [[v] for v in owner],
        [[t for t, o in enumerate(owner) if o == v] for v in range(len(split))],
    ]


class Recorder(Evaluator):
    """Keeps the rows that the metric was fed."""

    def __init__(self) -> None:
        super().__init__(RetrievalMetric())
        self.rows: list[list[Tensor]] = [[], []]
        self.positives: list[list[list[int]]] = [[], []]

    def process(self, data_samples: Sequence[dict], data_batch: Any = None) -> None:
        for sample in data_samples:
            self.rows[sample["direction"]].append(sample["scores"])
            self.positives[sample["direction"]].extend(sample["positives"])
        super().process(data_samples, data_batch)


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
        def encode_text(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
            seen.append((self.words[:2] @ self.words[:2].t()).dtype)
            return super().encode_text(ids, mask)

    metrics = build(Watching(), loader(Split(5)), **options).run()
    assert set(seen) == {torch.float16 if options.get("fp16") else torch.bfloat16}
    assert metrics["t2v/R5"] > 0


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
    assert loop.runner.info["test_skipped"] == names
    assert "3 media could not be read" in caplog.text
    assert "videos/4.mp4" in caplog.text


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
    from mmengine.logging import MMLogger

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


def test_nan_scores_are_an_error() -> None:
    model = StubModel()
    nn.init.constant_(model.words, float("nan"))
    with pytest.raises(ValueError, match="NaN"):
        build(model, loader(Split(4))).run()


def _entry(rank: int, world: int, port: int, fn: Callable, args: tuple) -> None:
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch_dist.init_process_group("gloo", rank=rank, world_size=world)
    try:
        fn(rank, world, *args)
        torch_dist.barrier()
    finally:
        torch_dist.destroy_process_group()


def spawn(fn: Callable, world: int, *args: object) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    mp.spawn(_entry, args=(world, port, fn, args), nprocs=world)


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
