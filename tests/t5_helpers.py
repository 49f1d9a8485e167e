"""A small T5, transformers' own on the same weights, and a tokenizer that is trained here."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from torch import Tensor

from tests.helpers import load_tool
from uniadapter.apis.model import build_model

ARCH = {
    "hidden_size": 16,
    "num_layers": 3,
    "num_heads": 2,
    "intermediate_size": 24,
    "head_dim": 6,
}
VOCAB_SIZE = 190
LINES = [
    "cola sentence: a red ball moves over the grey ground.",
    "rte sentence1: a blue box stands sentence2: something stands",
    "stsb 0.0 1.2 2.4 3.6 4.8 5.0 0 1 2 3 4 5 6 7 8 9",
    "mnli premise: two dots move hypothesis: nothing moves",
    "qqp question1: what is it? question2: is it blue?",
] * 20


def spiece(path: Path, vocab_size: int = 60, **options: Any) -> Path:
    """Train T5's kind of sentencepiece model."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES),
        model_writer=written,
        vocab_size=vocab_size,
        model_type="unigram",
        character_coverage=1.0,
        minloglevel=2,
        **{"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, **options},
    )
    path.write_bytes(written.getvalue())
    return path


def tokenizer_file(folder: Path) -> Path:
    """The tokenizer.json of a model that is trained here, of 160 ids."""
    out = folder / "t5.json"
    load_tool("model_converters/convert_sentencepiece.py").convert(
        spiece(folder / "spiece.model"), out, "t5"
    )
    return out


def seq2seq_cfg(
    adapter: dict[str, Any] | None = None, tokens: Path | None = None, **options: Any
) -> dict[str, Any]:
    """Config of a small model; ``text`` overrides options of T5."""
    cfg: dict[str, Any] = {"type": "Seq2SeqModel", "adapter": adapter, **options}
    cfg["text"] = {
        "type": "T5",
        "arch": ARCH,
        "vocab_size": VOCAB_SIZE,
        "dropout": 0.0,
        **options.get("text", {}),
    }
    if tokens is not None:
        tokenizer = {"type": "T5Tokenizer", "file": str(tokens)}
        cfg["data_preprocessor"] = {
            "type": "TextDataPreprocessor",
            "tokenizer": tokenizer,
            "max_text_len": 32,
        }
    return cfg


def seq2seq(adapter: dict[str, Any] | None = None, seed: int = 0, **options: Any) -> Any:
    """The model in evaluation, with norms that matter."""
    torch.manual_seed(seed)
    model = build_model(seq2seq_cfg(adapter, **options))
    with torch.no_grad():
        for name, parameter in model.text.named_parameters():
            if parameter.dim() == 1 or "relative" in name:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return model.eval()


def original(model: Any) -> Any:
    """transformers' own model on the weights of ours."""
    from transformers import T5ForConditionalGeneration

    config = model.text.encoder.config.to_dict()
    config.update(decoder_start_token_id=0, num_decoder_layers=config["num_layers"])
    config.pop("is_decoder")
    found = T5ForConditionalGeneration(type(model.text.encoder.config)(**config))
    state = {
        name.removeprefix("text."): tensor
        for name, tensor in model.state_dict().items()
        if name.startswith("text.")
    }
    state["encoder.embed_tokens.weight"] = state["shared.weight"]
    state["decoder.embed_tokens.weight"] = state["shared.weight"]
    state["lm_head.weight"] = state["shared.weight"]
    found.load_state_dict(state)
    return found.eval()


def sources(
    lengths: list[int], seed: int = 1, extra: int = 0, vocab_size: int = VOCAB_SIZE
) -> tuple[Tensor, Tensor]:
    """Ids and mask of texts of these lengths, padded behind to the longest and ``extra`` more."""
    drawn = torch.Generator().manual_seed(seed)
    width = max(lengths) + extra
    mask = (torch.arange(width) < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(2, vocab_size, mask.shape, generator=drawn)
    return ids * mask, mask
