"""Texts of a gallery or a query, encoded without looking at media."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from uniadapter.evaluation.functional import Distinct
from uniadapter.utils.tensors import at_least_float32


@dataclass(frozen=True)
class Texts:
    """T texts of at most L tokens, in E and D numbers; all on the CPU.

    Attributes:
        features: (T, E), normalised.
        cls: (T, D), states of their first tokens.
        input_ids: (T, L), padded to the longest.
        attention_mask: (T, L).
    """

    features: Tensor
    cls: Tensor
    input_ids: Tensor
    attention_mask: Tensor

    def __len__(self) -> int:
        return len(self.features)

    def distinct(self) -> Distinct:
        """Which of the texts are equal."""
        # What stands under the mask plays no part.
        words = torch.cat((self.input_ids * self.attention_mask, self.attention_mask), dim=1)
        return Distinct.of(row.numpy().tobytes() for row in words)

    def select(self, rows: Tensor) -> Texts:
        """Some of the texts, by their rows (t,) long."""
        return Texts(
            self.features[rows], self.cls[rows], self.input_ids[rows], self.attention_mask[rows]
        )

    @classmethod
    def encode(cls, model: Any, ids: Tensor, mask: Tensor, batch: int) -> Texts:
        """Encode texts with a model, in the autocast and without the gradients of the caller.

        Args:
            model: With ``encode_text``.
            ids: (T, L) word ids on the model's device, T at least 1.
            mask: (T, L), 0 where a token is padding.
            batch: Texts encoded at once.
        """
        parts = list(encode_parts(model, ids, mask, batch))
        whole = {name: torch.cat([kept(part[name]) for part in parts]) for name in parts[0]}
        return cls(whole["feature"], whole["cls"], whole["ids"], whole["mask"])


def encode_parts(model: Any, ids: Tensor, mask: Tensor, batch: int) -> Iterator[dict[str, Tensor]]:
    """Encode texts (T, L) some at a time.

    Yields:
        ``feature`` (t, E), ``cls`` (t, D), ``ids`` (t, L) and ``mask`` (t, L) of t of them.
    """
    for start in range(0, len(ids), batch):
        rows = slice(start, start + batch)
        # Nothing but the first token is read of a text here.
        states, feature = model.encode_text(ids[rows], mask[rows], class_only=True)
        yield {"feature": feature, "cls": states[:, 0], "ids": ids[rows], "mask": mask[rows]}


def kept(t: Tensor) -> Tensor:
    """A copy on the CPU, of half precision as float32."""
    return (at_least_float32(t) if t.is_floating_point() else t).cpu().clone()
