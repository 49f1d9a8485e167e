"""The language-model head as the head of a linear probe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.test_models.test_tasks.test_vqa_caption import build
from uniadapter.models.adapters.state import (
    backbone_fingerprint,
    count_parameters,
    load_adapter,
    save_adapter,
    trained_state_dict,
)

HEAD = "decoder.cls.predictions."


def probe(vocab: str, **options: Any) -> Any:
    return build("CaptionModel", vocab, adapter=None, train_lm_head=True, **options)


def test_a_probe_trains_the_head_and_not_the_words(vocab: str) -> None:
    model = probe(vocab)
    names = set(trained_state_dict(model))
    assert names
    assert all(name.startswith(HEAD) for name in names)
    counts = count_parameters(model)
    size = model.decoder.bert.vocab_size
    assert counts["trainable"] == counts["heads"] == 32 * 32 + 32 + 2 * 32 + size
    assert counts["backbone"] + counts["heads"] == counts["total"]


def test_without_the_option_the_head_belongs_to_the_backbone(vocab: str) -> None:
    model = build("CaptionModel", vocab)
    assert not [name for name in trained_state_dict(model) if name.startswith(HEAD)]
    counts = count_parameters(model)
    assert counts["heads"] == 0
    assert counts["backbone"] + counts["adapter"] == counts["total"]


def test_a_trained_head_is_not_another_backbone(vocab: str, tmp_path: Path) -> None:
    options = {"adapter": {"type": "UniAdapter", "bottleneck": 4}}
    trained = build("CaptionModel", vocab, train_lm_head=True, **options)
    before = backbone_fingerprint(trained)
    bias = trained.decoder.cls.predictions.bias
    with torch.no_grad():
        bias.add_(1.0)
    assert backbone_fingerprint(trained) == before
    save_adapter(trained, tmp_path / "adapter")
    fresh = build("CaptionModel", vocab, train_lm_head=True, **options)
    load_adapter(fresh, tmp_path / "adapter")
    torch.testing.assert_close(fresh.decoder.cls.predictions.bias, bias)
    with torch.no_grad():
        fresh.decoder.bert.embeddings.word_embeddings.weight.add_(1.0)
    assert backbone_fingerprint(fresh) != before
