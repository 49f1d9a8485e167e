"""A small byte-level BPE in the files that RoBERTa has."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

MARKS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
TEXTS = [
    "the red star left of the blue ring",
    "woman in a white shirt, second from right",
    "the man's hat",
    "Größe 3, café",
    "guy with glasses standing behind the table",
    "left  zebra",
]


def train(size: int = 330) -> Tokenizer:
    """Train one; the same texts give the same vocabulary but for ties."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=MARKS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    return tokenizer


def write_lists(folder: Path) -> Path:
    """Write ``vocab.json`` and ``merges.txt``."""
    folder.mkdir(parents=True, exist_ok=True)
    train().model.save(str(folder))
    return folder


def write_json(folder: Path) -> Path:
    """Write ``tokenizer.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    train().save(str(folder / "tokenizer.json"))
    return folder


def lists_of(folder: Path) -> tuple[dict[str, int], str]:
    """What :func:`write_lists` wrote."""
    vocab = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    return vocab, (folder / "merges.txt").read_text(encoding="utf-8")
