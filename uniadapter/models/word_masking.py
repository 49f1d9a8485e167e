"""Texts with words masked, exchanged and left out, as VSE-infinity trains on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class WordMasking:
    """Changes some words of a text, drawn anew each time; every piece of a word alike.

    Args:
        prob: Share of the words that are changed. Defaults to 0.2.
        mask: Share of these whose pieces become ``[MASK]``. Defaults to 0.5.
        random: Share of these whose pieces become any of the vocabulary, padding excepted.
            Defaults to 0.1. The rest is left out of the text.

    Raises:
        ValueError: If a share is not in [0, 1], or ``mask`` and ``random`` are more than 1.
    """

    prob: float = 0.2
    mask: float = 0.5
    random: float = 0.1

    def __post_init__(self) -> None:
        shares = (self.prob, self.mask, self.random, self.mask + self.random)
        if not all(0 <= share <= 1 for share in shares):
            raise ValueError(f"{self} has shares outside [0, 1].")

    def __call__(self, tokenizer: Any, text: str) -> list[int]:
        """Ids of a text's pieces, without the marks at its ends.

        Args:
            tokenizer: A tokenizer that tells words apart and has a ``mask_token_id``.
            text: The text.
        """
        words = tokenizer.words(text)
        ids: list[int] = []
        for word, drawn in zip(words, torch.rand(len(words)).tolist(), strict=True):
            if drawn >= self.prob:
                ids += word
                continue
            share = drawn / self.prob
            if share < self.mask:
                ids += [tokenizer.mask_token_id] * len(word)
            elif share < self.mask + self.random:
                ids += self._any(tokenizer, len(word))
        return ids

    @staticmethod
    def _any(tokenizer: Any, count: int) -> list[int]:
        """Ids drawn from the vocabulary, which padding would make shorter."""
        drawn = torch.randint(tokenizer.vocab_size - 1, (count,)).tolist()
        return [index + (index >= tokenizer.pad_token_id) for index in drawn]
