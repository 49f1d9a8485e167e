"""Losses are means over the words, questions and pairs of all ranks, gradients included."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
import torch.distributed as torch_dist

from tests.clip_vil_helpers import draw_batch, small_cfg
from tests.helpers import VOCAB_SIZE, tiny_retrieval_cfg, write_vocab
from tests.model_helpers import randomize, tiny_pretrain_cfg
from tests.spawn import spawn
from tests.t5_helpers import seq2seq_cfg, tokenizer_file
from tests.vl_helpers import TASKS, WIDTH, vl_cfg
from tests.vl_helpers import batch as joint_batch
from uniadapter.apis.model import build_model
from uniadapter.models.execution import Execution
from uniadapter.models.fast import FastExecution, FastPaths
from uniadapter.models.heads import decoder_loss
from uniadapter.structures import MultimodalSample

NOUNS = ["red", "green", "blue", "square", "bar", "cross"]
WEIGHTS = [1.0, 0.3, 0.0, 0.9, 0.6]
Case = tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]


def build(cfg: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    return randomize(build_model(cfg))


def rows(batch: dict[str, Any], index: list[int]) -> dict[str, Any]:
    chosen = torch.tensor(index)
    part = {
        key: value[chosen] if isinstance(value, torch.Tensor) else [value[i] for i in index]
        for key, value in batch.items()
    }
    if "attention_mask" in part:
        # Padded to the longest of the rank, as its data preprocessor does.
        longest = int(part["attention_mask"].sum(1).max())
        for key in ("input_ids", "attention_mask"):
            part[key] = part[key][:, :longest]
    return part


def result(model: Any, batch: dict[str, Any], names: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """The losses, and the gradient of their sum for every trained parameter."""
    losses = model(**batch, mode="loss")
    total = sum(losses[name] for name in names)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    gradients = torch.autograd.grad(total, list(trained.values()), allow_unused=True)
    found = {name: losses[name].detach() for name in names}
    for (name, parameter), gradient in zip(trained.items(), gradients, strict=True):
        found[name] = torch.zeros_like(parameter) if gradient is None else gradient
    return found


def _rank(rank: int, world: int, path: str) -> None:
    for cfg, batch, names, shares, expected in torch.load(path, weights_only=False):
        found = result(build(cfg), rows(batch, shares[rank]), names)
        for name, value in found.items():
            torch_dist.all_reduce(value)
            torch.testing.assert_close(
                value / world, expected[name], rtol=1e-4, atol=1e-5, msg=lambda m, n=name: n + m
            )


def tower(kind: str) -> dict[str, Any]:
    return {**tiny_retrieval_cfg()["text"], "type": kind, "vocab_size": VOCAB_SIZE}


def cases(folder: Path) -> list[Case]:
    drawn = random.Random(0)
    vocab = write_vocab(folder / "vocab.txt")
    processor = {"type": "MultimodalDataPreprocessor", "tokenizer": {"vocab_file": str(vocab)}}
    base = tiny_retrieval_cfg()
    shared = {"visual": base["visual"], "adapter": base["adapter"], "data_preprocessor": processor}
    captioning = {**shared, "type": "CaptionModel", "decoder": tower("BertDecoder"), "prompt": "a "}
    answering = {**captioning, "type": "VQAModel", "text": tower("BertModel")}
    del answering["prompt"]
    pixels, found = torch.randn(5, 2, 3, 32, 32), []

    def text() -> str:
        return " ".join(drawn.choices(NOUNS, k=drawn.randint(1, 6)))

    for fast in (True, False):
        samples = [MultimodalSample(text=text()) for _ in range(5)]
        batch = {"pixels": pixels, "data_samples": samples}
        found.append(({**captioning, "fast": fast}, batch, ("loss_lm",)))
    model = build(answering)
    ids, mask = model.tokenizer([text() for _ in range(5)])
    answers = [[text() for _ in range(drawn.randint(1, 3))] for _ in range(5)]
    samples = [MultimodalSample(answers=a, answer_weights=[0.3] * len(a)) for a in answers]
    batch = {"pixels": pixels, "input_ids": ids, "attention_mask": mask, "data_samples": samples}
    found.append((answering, batch, ("loss_lm",)))
    batch = {key: batch[key] for key in ("pixels", "input_ids", "attention_mask")}
    batch["media_ids"] = torch.arange(5)
    found.append((tiny_pretrain_cfg(), batch, ("loss_lm", "loss_itc")))
    batch = draw_batch(2, [4, 2, 3, 1, 5], 1, 2)
    labels = [{"yes": 1.0}, {}, {"2": 0.6, "gray": 0.3}, {"no": 1.0}, {"yes": 0.9}]
    batch["data_samples"] = [
        MultimodalSample(answers=list(label), answer_weights=list(label.values()))
        for label in labels
    ]
    found.append((small_cfg(), batch, ("loss_answers",)))
    pair = {"type": "UniPT", "decoder": "side", "reduction": 2}
    writing = seq2seq_cfg(pair, tokenizer_file(folder))
    model = build(writing)
    samples = [MultimodalSample(metainfo={"text": text(), "target": text()}) for _ in range(5)]
    found.append((writing, model.data_preprocessor({"data_samples": samples}), ("loss_lm",)))
    joint = vl_cfg("Bart", tokens=folder / "bart")
    model, features = build(joint), torch.randn(5, 1, 4, WIDTH)
    for task in TASKS:
        given = joint_batch(
            task, [text() for _ in range(5)], features, [text() for _ in range(5)], WEIGHTS
        )
        found.append((joint, model.data_preprocessor(given), ("loss_lm",)))
    return found


def test_two_processes_equal_one_with_ragged_texts_and_shares(tmp_path: Path):
    torch.manual_seed(3)
    content = []
    for cfg, batch, names in cases(tmp_path):
        expected = result(build(cfg), batch, names)
        for shares in ([[0, 2, 4], [1, 3]], [[0], [1, 2, 3, 4]]):
            content.append((cfg, batch, names, shares, expected))
    torch.save(content, tmp_path / "cases.pt")
    spawn(_rank, 2, str(tmp_path / "cases.pt"))


def test_a_rank_without_a_word_takes_part(tmp_path: Path):
    """Its loss is 0, not a mean over nothing."""
    decoder = build(cases(tmp_path)[0][0]).decoder
    ids, mask = torch.full((2, 4), 5), torch.ones(2, 4, dtype=torch.long)
    for execution in (Execution(), FastExecution(FastPaths())):
        decoder.bert.execution = execution
        memory = decoder.memory(torch.randn(2, 3, 32))
        words = (ids, mask, torch.full_like(ids, -100))
        loss = decoder_loss(decoder, words, memory)
        assert loss == 0
        # All ranks wait for each other's gradients.
        assert loss.requires_grad
