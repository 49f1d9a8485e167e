"""Text to text: losses and texts are transformers', and what does not fit is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from tests.helpers import tiny_retrieval_cfg
from tests.t5_helpers import LINES, original, seq2seq, seq2seq_cfg, tokenizer_file
from uniadapter.apis.model import build_model
from uniadapter.models.generation import GenerationConfig
from uniadapter.structures import MultimodalSample

PAIR = {"type": "UniPT", "decoder": "side", "reduction": 2}
VISUAL = tiny_retrieval_cfg()["visual"]
TARGETS = ["0", "3.6", "a red ball", "1", "2.4"]


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tokenizer_file(tmp_path_factory.mktemp("tokens"))


def batch(count: int = 5) -> list[MultimodalSample]:
    return [
        MultimodalSample(metainfo={"text": text, "target": target, "index": index})
        for index, (text, target) in enumerate(zip(LINES, TARGETS, strict=False))
    ][:count]


def test_the_loss_is_transformers_own(tokens: Path) -> None:
    model = seq2seq(tokens=tokens)
    data = model.data_preprocessor({"data_samples": batch()}, True)
    loss = model(**data, mode="loss")["loss_lm"]
    labels, mask = model.tokenizer(TARGETS, 8)
    labels = labels.masked_fill(mask == 0, -100)
    with torch.no_grad():
        want = original(model)(
            input_ids=data["input_ids"], attention_mask=data["attention_mask"], labels=labels
        )
    assert_close(loss, want.loss)
    assert int(model.loss_items) == int(mask.sum())


def test_it_writes_texts_into_the_samples(tokens: Path) -> None:
    model = seq2seq(tokens=tokens)
    data = model.data_preprocessor({"data_samples": batch()})
    samples = model(**data, mode="predict")
    with torch.no_grad():
        rows = original(model).generate(
            input_ids=data["input_ids"],
            attention_mask=data["attention_mask"],
            max_length=9,
            do_sample=False,
        )
    assert [s.pred_text for s in samples] == [model.tokenizer.decode(_until(row)) for row in rows]


def _until(row: torch.Tensor) -> list[int]:
    words = row[1:].tolist()
    return words[: words.index(1)] if 1 in words else words


def test_it_learns_targets(tokens: Path) -> None:
    """The pair alone, on a random backbone."""
    model = seq2seq({**PAIR, "reduction": 1}, tokens=tokens).train()
    data = model.data_preprocessor({"data_samples": batch()}, True)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.1)
    losses = []
    for _ in range(30):
        losses.append(model(**data, mode="loss")["loss_lm"])
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0] / 2


def test_lengths_are_kept(tokens: Path) -> None:
    model = seq2seq(tokens=tokens, max_target_len=3)
    ids, mask, labels = model.target_words(["a red ball moves", "1"], torch.device("cpu"))
    assert ids.shape == mask.shape == labels.shape == (2, 4)
    assert ids[:, 0].tolist() == [0, 0]
    assert ids[0, -1] == 1
    assert (labels[:, 0] == -100).all()
    assert torch.equal(labels == -100, (torch.arange(4) == 0) | (mask == 0))
    texts = model.data_preprocessor({"data_samples": batch()})
    assert texts["input_ids"].shape[1] <= 32


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"label_smoothing": 1.0}, "model.label_smoothing=1.0 must be in"),
        ({"max_target_len": 1}, "model.max_target_len=1 must leave room"),
        ({"prefix_cache": {"dir": "x"}}, "model.prefix_cache keeps visual states"),
        ({"text": {"vocab_size": 100}}, "text.vocab_size=100, but the tokenizer of data_pre"),
        ({"visual": {"type": "BlipViT"}}, "multiple values for argument 'visual'"),
        (
            {"adapter": PAIR, "train_backbone": True},
            "model.train_backbone=True would train nothing",
        ),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], match: str, tokens: Path) -> None:
    with pytest.raises(ValueError, match=match):
        build_model({**seq2seq_cfg(**{"tokens": tokens, **options})})


def test_what_is_missing_is_named() -> None:
    model = seq2seq()
    with pytest.raises(ValueError, match="Words need a tokenizer"):
        _ = model.tokenizer
    with pytest.raises(ValueError, match=r"Seq2SeqModel needs a tower to .* plays \['visual'\]"):
        build_model({"type": "Seq2SeqModel", "text": VISUAL})
    assert model.generation == GenerationConfig(1, 9, 0)
