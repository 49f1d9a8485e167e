"""Re-ranking: matching scores of texts with one medium after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from uniadapter.utils.tensors import at_least_float32

Logits = Callable[[torch.Tensor, torch.Tensor, slice, "torch.Tensor | None"], torch.Tensor]


class Scorer:
    """The plain way: every pair is a run of its own, with a copy of the medium.

    Args:
        model (RetrievalModel): The model.
        ids (Tensor): Word ids of all texts (T, L), ``[CLS]`` first, on any device.
        mask (Tensor): (T, L), 0 where a token is padding.
        chunk (int): Texts run at a time. Defaults to 256.
    """

    def __init__(self, model: Any, ids: torch.Tensor, mask: torch.Tensor, chunk: int = 256) -> None:
        self.model, self.ids, self.mask, self.chunk = model, ids, mask, chunk

    def prepare(self, batch: int) -> None:
        """Compute ahead what depends on the texts alone, ``batch`` of them at once: nothing."""

    def score(
        self,
        medium: torch.Tensor,
        chosen: torch.Tensor | None = None,
        frame_sims: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Logits that texts and a medium belong together.

        Args:
            medium (Tensor): Visual tokens (N, M, D).
            chosen (Tensor, optional): (t,) long, on the texts' device: which of them. None: all.
            frame_sims (Tensor, optional): (t, N), similarities of these texts to the frames.

        Returns:
            Tensor: (t,), at least float32.

        Raises:
            ValueError: If ``frame_sims`` is not of these texts and frames.
        """
        ids, mask = self._texts(chosen)
        count, frames = len(ids), len(medium)
        if frame_sims is not None and frame_sims.shape != (count, frames):
            raise ValueError(
                f"frame_sims of {count} texts and {frames} frames must be {(count, frames)}, got "
                f"{tuple(frame_sims.shape)}."
            )
        ids, mask = ids.to(medium.device), mask.to(medium.device)
        logits, scores = self._against(medium, chosen), []
        for start in range(0, count, self.chunk):
            part = slice(start, start + self.chunk)
            sims = None if frame_sims is None else frame_sims[part]
            scores.append(logits(ids[part], mask[part], part, sims)[:, 1])
        return torch.cat(scores) if scores else at_least_float32(medium.new_zeros(0))

    def _texts(self, chosen: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask of the chosen texts, as wide as the widest of them."""
        if chosen is None:
            return self.ids, self.mask
        # Behind the last visible token there is padding alone, wherever else there is some.
        seen = self.mask[chosen].bool().any(0).nonzero()
        width = int(seen[-1]) + 1 if len(seen) else 1
        return self.ids[chosen, :width], self.mask[chosen, :width]

    def _against(self, medium: torch.Tensor, chosen: torch.Tensor | None) -> Logits:
        """What gives the logits (p, 2) of some of the chosen texts with a medium.

        It is called with their ids, their mask, their place among the chosen ones, and their
        similarities to the frames.
        """

        def logits(
            ids: torch.Tensor, mask: torch.Tensor, part: slice, sims: torch.Tensor | None
        ) -> torch.Tensor:
            return self.model.match(ids, mask, medium.expand(len(ids), -1, -1, -1), sims)

        return logits
