"""Embeddings that a task compares, and what an adapter that reads taps adds to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ..adapters.base import Adapter

_PROJECTIONS = {"visual": "vision_proj", "text": "text_proj"}


class EmbeddingTerms:
    """The terms of embeddings; part of :class:`RetrievalModel`."""

    adapter: Adapter | None
    contrast: Any
    pooling: nn.Module

    def kept_heads(self) -> set[str]:
        """The projections of embeddings that the adapter adds to."""
        embedded = () if self.adapter is None else self.adapter.embedded
        return {name for role, name in _PROJECTIONS.items() if role in embedded}

    @contextmanager
    def embeddings_as_they_are(self, role: str) -> Iterator[None]:
        """Leave the embeddings of media or of texts at their length inside the context.

        What is brought to length 1 before they are pooled still is.

        Args:
            role (str): ``'visual'`` or ``'text'``.
        """
        pooled = role == "visual" and getattr(self.pooling, "of_features", False)
        last: Any = self.pooling if pooled else self.contrast
        last.unit = False
        try:
            yield
        finally:
            last.unit = True

    def embedding_term(self, role: str, cls: torch.Tensor) -> torch.Tensor | None:
        """What the adapter adds to the embeddings of a role's last run.

        Args:
            role (str): ``'visual'`` or ``'text'``.
            cls (Tensor): The states (..., D) that stand for its frames or texts, in their order.

        Returns:
            Tensor: (..., E), None where it adds nothing.
        """
        if self.adapter is None or not self.adapter.adds(role):
            return None
        embedding = getattr(self.contrast, _PROJECTIONS[role])(cls)
        term = self.adapter.term(role, embedding.flatten(0, -2))
        return term.view_as(embedding)
