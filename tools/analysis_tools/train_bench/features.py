"""Batches of a model that reads features of pictures behind texts, and needs no files for them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import torch
from mmengine.config import Config
from rerank_bench.inputs import random_captions
from torch import Tensor

from uniadapter.models.base_tokenizer import TextTokenizer
from uniadapter.structures import MultimodalSample

if TYPE_CHECKING:
    from .variant import Variant

#: Type of the models that such batches are for.
READER = "VLSeq2Seq"


class Numerals(TextTokenizer):
    """A text's words are its ids, ``'17 4'``: in the place of a vocabulary's files.

    The marks are BART's.

    Args:
        vocab_size (int): Number of ids.
        words (int): Ids below it are of texts, the rest of no text.
    """

    cls_token_id, pad_token_id, sep_token_id, unk_token_id = 0, 1, 2, 3

    def __init__(self, vocab_size: int, words: int) -> None:
        self.vocab_size = vocab_size
        self.num_words = words

    @property
    def decoder_start_id(self) -> int:
        """The mark behind a text."""
        return self.sep_token_id

    def pieces(self, text: str) -> list[int]:
        """The numbers that stand in a text."""
        return [int(word) for word in text.split()]

    def decode(self, ids: Sequence[int] | Tensor, skip_special_tokens: bool = True) -> str:
        """The numbers as a text, without marks and what is in no text."""
        first = self.unk_token_id + 1 if skip_special_tokens else 0
        last = self.num_words if skip_special_tokens else self.vocab_size
        return " ".join(str(int(i)) for i in ids if first <= int(i) < last)


def without_files(cfg: Config) -> None:
    """Change a config in place: numerals are its words."""
    text = cfg.model.text
    size = text.vocab_size + text.get("new_words", 0)
    words = {"type": Numerals, "vocab_size": size, "words": text.vocab_size}
    cfg.model.data_preprocessor.tokenizer = words


def feature_batch(cfg: Config, variant: Variant, model: Any) -> dict[str, Any]:
    """Inputs as the data preprocessor returns them, of no task yet (see :class:`Turns`).

    Texts and targets have all tokens that the variant asks for, and each text one picture, with
    features of the shape that the config's first data set has.
    """
    torch.manual_seed(variant.seed)
    count, length, words = variant.batch_size, variant.text_length, model.tokenizer.num_words
    datasets = cfg.train_dataloader.dataset.datasets
    shape = datasets[model.tasks.names[0]].features.shape
    targets = random_captions(model.tokenizer, [variant.target_length] * count, variant.seed)
    return {
        "input_ids": torch.randint(Numerals.unk_token_id + 1, words, (count, length)),
        "attention_mask": torch.ones(count, length, dtype=torch.long),
        "features": torch.randn(count, 1, *shape),
        "data_samples": [
            MultimodalSample(metainfo={"target": target, "target_weight": 1.0})
            for target in targets
        ],
    }


class Turns:
    """The tasks of joint training, one a step, in turn.

    Methods with parameters of their own for each task have an optimizer's state of all of them
    once each task has had its turn.

    Args:
        tasks (Sequence[str]): Their names.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        self._tasks = cycle(tasks)

    def take(self, batch: dict[str, Any]) -> None:
        """Make a batch one of the next task."""
        task = next(self._tasks)
        for sample in batch["data_samples"]:
            sample.set_field(task, "task")
