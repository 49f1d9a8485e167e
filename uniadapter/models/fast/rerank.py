"""Re-ranking without a copy of the medium a text, without padding, and texts begun once."""

from __future__ import annotations

from typing import Any

import torch

from ..backbones.base import Begun
from ..execution import PairMemory, Words
from ..scoring import Logits, Scorer
from .packing import PackedRows, Packing


class FoldedScorer(Scorer):
    """A medium's keys and values are projected once, its texts packed along the query axis.

    Args:
        model (RetrievalModel): The model.
        ids (Tensor): Word ids of all texts (T, L), ``[CLS]`` first, on any device.
        mask (Tensor): (T, L), 0 where a token is padding.
        chunk (int): Texts run at a time. Defaults to 256.
        begin_once (bool): Whether :meth:`prepare` does what no medium is needed for, for all texts.
            Defaults to True.

    Attributes:
        begun (Tensor, optional): What it did: (sum of the texts' lengths, D), text after text, on
            the texts' device. None where it did nothing: padding is not on the right, or what
            fills a site needs other tokens.
    """

    def __init__(
        self,
        model: Any,
        ids: torch.Tensor,
        mask: torch.Tensor,
        chunk: int = 256,
        begin_once: bool = True,
    ) -> None:
        super().__init__(model, ids, mask, chunk)
        self.fusion, self.begin_once = model.role("fusion"), begin_once
        lengths = Packing.lengths(mask) if self.fusion.local("fusion") else None
        self.packs = lengths is not None
        self.lengths = mask.new_zeros(0) if lengths is None else lengths
        self.begun: torch.Tensor | None = None

    def prepare(self, batch: int) -> None:
        """See the base class: the fusion begins."""
        if not (self.packs and self.begin_once):
            return
        device, parts = next(self.model.parameters()).device, []
        for start in range(0, len(self.ids), batch):
            chosen = torch.arange(start, min(start + batch, len(self.ids)), device=self.ids.device)
            ids, mask = (t.to(device) for t in self._texts(chosen))
            begun = self.fusion.begin(Words(ids, mask), rows=self._rows(chosen, ids))
            parts.append(begun.x[0].to(self.ids.device))
        self.begun = torch.cat(parts) if parts else None

    def _rows(self, chosen: torch.Tensor | slice, ids: torch.Tensor) -> PackedRows:
        return PackedRows(Packing.of(self.lengths[chosen].to(ids.device)), ids.shape[1])

    def _against(self, medium: torch.Tensor, chosen: torch.Tensor | None) -> Logits:
        """See the base class."""
        frames, tokens = medium.shape[:2]
        kept = self.fusion.memory(medium.flatten(0, 1)[None]).kept()

        def logits(
            ids: torch.Tensor, mask: torch.Tensor, part: slice, sims: torch.Tensor | None
        ) -> torch.Tensor:
            memory = kept.weighted(self.model.factor(sims, frames, tokens))
            states = self._fused(ids, mask, part if chosen is None else chosen[part], memory)
            return self.model.matching(states[:, 0])

        return logits

    def _fused(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor,
        chosen: torch.Tensor | slice,
        memory: PairMemory,
    ) -> torch.Tensor:
        """First tokens (p, 1, D) of some texts that have read the medium."""
        if not self.packs:
            return self.fusion.fuse(Words(ids, mask), memory, "first")
        rows = self._rows(chosen, ids)
        if self.begun is None:
            begun = self.fusion.begin(Words(ids, mask), rows=rows)
        else:
            begun = Begun(rows, self.begun[self._tokens(chosen)].to(ids.device)[None])
        return self.fusion.finish(begun, memory, "first")

    def _tokens(self, chosen: torch.Tensor | slice) -> torch.Tensor:
        """Where the tokens of some texts stand in :attr:`begun`."""
        ends = self.lengths.cumsum(0)
        lengths, starts = self.lengths[chosen], (ends - self.lengths)[chosen]
        own = (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
        within = torch.arange(len(own), device=own.device) - own
        return starts.repeat_interleave(lengths) + within
