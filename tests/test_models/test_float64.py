"""Models in float64: they train and answer, and fast paths are exact to its last digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from tests.helpers import WORDS, tiny_retrieval_cfg, write_vocab
from tests.model_helpers import (
    adapter_cfg,
    randomize,
    seeded_model,
    tiny_batch,
    tiny_model,
    tiny_pretrain_cfg,
)
from tests.test_engine.test_runner.retrieval_stubs import FakeRunner, Recorder, loader
from tests.test_engine.test_runner.test_retrieval_loop_model import WordSplit
from uniadapter.apis.model import build_model
from uniadapter.engine.runner import RetrievalTestLoop
from uniadapter.registry import MODELS
from uniadapter.structures import MultimodalSample

PFA = [None, "released", "paper"]


@pytest.fixture(scope="module")
def vocab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vocab(tmp_path_factory.mktemp("vocab") / "vocab.txt")


def doubled(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: t.double() if t.is_floating_point() else t for name, t in batch.items()}


def graded(model: Any, losses: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    sum(losses.values()).backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return {name: loss.detach() for name, loss in losses.items()} | gradients


def assert_exact(found: list[dict[str, torch.Tensor]]) -> None:
    plain, fast = found
    assert set(plain) == set(fast)
    for name, value in plain.items():
        assert value.dtype == fast[name].dtype == torch.float64, name
        assert_close(fast[name], value, atol=1e-11, rtol=1e-9, msg=name)


@pytest.mark.parametrize("variant", PFA)
def test_retrieval_trains(variant: str | None) -> None:
    pfa = variant and {"type": "FrameAwareAttention", "variant": variant}
    found = []
    for fast in (False, True):
        model = randomize(tiny_model(pfa=pfa, fast=fast), std=0.1).double().train()
        found.append(graded(model, model(**doubled(tiny_batch(frames=3)), mode="loss")))
    assert_exact(found)


def test_pretraining_trains() -> None:
    found = []
    for fast in (False, True):
        torch.manual_seed(0)
        model = build_model(tiny_pretrain_cfg(fast=fast)).double().train()
        found.append(graded(model, model(**doubled(tiny_batch()), mode="loss")))
    assert_exact(found)


@pytest.mark.parametrize("variant", PFA)
def test_retrieval_is_tested(variant: str | None, vocab: Path) -> None:
    pfa = variant and {"type": "FrameAwareAttention", "variant": variant}
    rows = []
    for dtype in (torch.float64, torch.float32):
        model = randomize(seeded_model(tiny_retrieval_cfg(vocab, pfa=pfa)), std=0.1).to(dtype)
        data = loader(WordSplit(5))
        loop = RetrievalTestLoop(FakeRunner(model), data, Recorder(), k_test=3, itc_weight=1.0)
        loop.run()
        rows.append([torch.cat(part).double() for part in loop.evaluator.rows])
    assert_close(rows[0], rows[1], atol=1e-4, rtol=1e-4)


def generative(kind: str, vocab: Path, fast: Any, **options: Any) -> Any:
    cfg = tiny_retrieval_cfg(vocab)
    tower = {**cfg["text"], "type": "BertDecoder"}
    kept = {key: cfg[key] for key in ("visual", "data_preprocessor")}
    if kind == "VQAModel":
        kept["text"] = cfg["text"]
    model = MODELS.build(
        {"type": kind, "decoder": tower, "adapter": adapter_cfg(), "fast": fast, **kept, **options}
    )
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    return model.double()


def samples(count: int) -> list[MultimodalSample]:
    answers = [["red", "a blue dot"], ["bar"], ["green", "red", "cross"]][:count]
    return [
        MultimodalSample(
            metainfo={"answers": a, "answer_weights": [1 / len(a)] * len(a), "text": a[0]}
        )
        for a in answers
    ]


def question_batch() -> dict[str, torch.Tensor]:
    batch = doubled(tiny_batch(frames=16))
    del batch["media_ids"]
    return batch


@pytest.mark.parametrize("kind", ["VQAModel", "CaptionModel"])
def test_generative_models_train(kind: str, vocab: Path) -> None:
    options = {"prompt": "a "} if kind == "CaptionModel" else {}
    found = []
    for fast in (False, True):
        model = generative(kind, vocab, fast, **options).train()
        losses = model(**question_batch(), data_samples=samples(3), mode="loss")
        found.append(graded(model, losses))
    assert_exact(found)


def test_generative_models_answer(vocab: Path) -> None:
    answers = [word for word in WORDS[5:]] + ["a red dot", "a blue bar"]
    ranked = [
        generative("VQAModel", vocab, fast, answer_list=answers, k_test=4).eval()
        for fast in (False, True)
    ]
    batch = question_batch()
    scores = []
    for model in ranked:
        with torch.no_grad():
            texts = (batch["input_ids"], batch["attention_mask"])
            states = model.encode_question(batch["pixels"], *texts)
            scores.append(model.rank_answers(states, texts[1], answers))
    assert scores[0].dtype == torch.float64
    assert_close(scores[1], scores[0], atol=1e-11, rtol=1e-9)
    for kind, options in (
        ("VQAModel", {"inference": "generate"}),
        ("CaptionModel", {"generation": {"num_beams": 1}}),
        ("CaptionModel", {"generation": {"num_beams": 3}}),
    ):
        model = generative(kind, vocab, True, **options).eval()
        found = model(**question_batch(), data_samples=samples(3), mode="predict")
        assert len(found) == 3
