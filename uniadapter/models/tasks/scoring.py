"""Re-ranking: one medium against many texts, without a copy of it and without padding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from uniadapter.utils.tensors import at_least_float32

from ..backbones.bert import BertModel, CrossInput, Packing
from ..fast import FastPaths


class TextScoring:
    """Scores texts against a medium; part of :class:`RetrievalModel`."""

    text: BertModel
    fast: FastPaths

    # Of the model that this is a part of.
    match: Callable[..., torch.Tensor]
    _match: Callable[..., torch.Tensor]
    _weigh: Callable[..., CrossInput]
    _marked: Callable[[torch.Tensor], torch.Tensor]
    _matching_logits: Callable[[torch.Tensor], torch.Tensor]
    role: Callable[[str], Any]

    def _packs(self) -> bool:
        """Whether texts may be scored behind each other."""
        return self.fast.fold_texts and self.role("fusion").local("fusion")

    def attend_texts(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> torch.Tensor | None:
        """The first layer's self-attention of texts, the same whatever medium they are scored with.

        Args:
            input_ids (Tensor): (T, L), ``[CLS]`` first.
            attention_mask (Tensor): (T, L).

        Returns:
            Tensor: (sum of the texts' lengths, D), text after text; None where the fast path
            is off, a filled site is not local or the padding is not on the right.
        """
        if not (self._packs() and self.fast.first_layer_once):
            return None
        lengths = Packing.lengths(attention_mask)
        if lengths is None:
            return None
        return self.text.attend_first(self._marked(input_ids), Packing.of(lengths))[0]

    def score_texts(
        self,
        visual_tokens: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        frame_sims: torch.Tensor | None = None,
        chunk: int = 256,
        attended: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Score one medium against many texts; its keys and values are projected once.

        Texts are packed without padding where it is all on the right (``fast.fold_texts``).

        Args:
            visual_tokens (Tensor): (N, M, D) of the medium.
            input_ids (Tensor): (T, L), ``[CLS]`` first.
            attention_mask (Tensor): (T, L).
            frame_sims (Tensor, optional): (T, N), see :meth:`match`.
            chunk (int): Texts run at a time. Defaults to 256.
            attended (Tensor, optional): From :meth:`attend_texts`, of these texts.

        Returns:
            Tensor: (T,) logits that text and medium belong together, at least float32.

        Raises:
            ValueError: If ``frame_sims`` or ``attended`` is not of these texts and frames.
        """
        count, frames = len(input_ids), len(visual_tokens)
        if frame_sims is not None and frame_sims.shape != (count, frames):
            raise ValueError(
                f"frame_sims of {count} texts and {frames} frames must be {(count, frames)}, got "
                f"{tuple(frame_sims.shape)}."
            )
        cross = self.text.read(visual_tokens.flatten(0, 1)[None])
        lengths = Packing.lengths(attention_mask) if self._packs() else None
        # Known on the host from here on, so that no chunk waits for the device to be cut out.
        counts = [] if lengths is None else lengths.tolist()
        if attended is not None and len(attended) != sum(counts):
            raise ValueError(
                f"attended has {len(attended)} tokens, which is not what attend_texts returns for "
                "these texts."
            )
        # An adapter that takes the place of the run may read the states themselves.
        folds = self.fast.fold_texts and self.role("fusion") is self.text
        if folds:
            cross = self.text.project(cross)
        scores = []
        for start in range(0, input_ids.shape[0], chunk):
            part = slice(start, start + chunk)
            sims = None if frame_sims is None else frame_sims[part]
            ids, mask = input_ids[part], attention_mask[part]
            if lengths is not None:
                weighted = self._weigh(cross, sims, visual_tokens.shape[1])
                rows = slice(sum(counts[:start]), sum(counts[: part.stop]))
                known = None if attended is None else attended[rows]
                logits = self._match_packed(ids, lengths[part], weighted, known)
            elif folds:
                weighted = self._weigh(cross, sims, visual_tokens.shape[1])
                logits = self._match(ids, mask, weighted)
            else:
                copies = visual_tokens.expand(len(ids), -1, -1, -1)
                logits = self.match(ids, mask, copies, sims)
            scores.append(logits[:, 1])
        return torch.cat(scores) if scores else at_least_float32(visual_tokens.new_zeros(0))

    def _match_packed(
        self,
        input_ids: torch.Tensor,
        lengths: torch.Tensor,
        cross: CrossInput,
        attended: torch.Tensor | None,
    ) -> torch.Tensor:
        """Logits (P, 2) of one medium with P texts, packed."""
        packing = Packing.of(lengths)
        if attended is None:
            attended = self.text.attend_first(self._marked(input_ids), packing)[0]
        return self._matching_logits(self.text.forward_packed(attended[None], packing, cross))
