"""What of a task matches texts with media, pair by pair: fusion, frame weights, a matching head."""

from __future__ import annotations

import torch

from ..execution import Factor, Words
from ..heads import MatchBatch, MatchingHead
from ..necks import FrameAwareAttention
from ..necks.frame_attention import factor_of
from ..scoring import Scorer
from .base import VisionLanguageModel


class MatchingModel(VisionLanguageModel):
    """Base class of tasks that tell whether texts and media belong together.

    Attributes:
        matches (bool): Whether the model has a matching head.
        pfa (FrameAwareAttention, optional): Weighs the frames of a medium for a text.
    """

    matches: bool
    pfa: FrameAwareAttention | None

    @property
    def matching(self) -> MatchingHead:
        """The matching head.

        Raises:
            ValueError: If the model has none.
        """
        if not self.matches:
            raise ValueError(
                "This needs image-text matching, and the model has model.matching=None: rank by "
                "similarity alone (k_test=0), or set model.matching=dict(type='MatchingHead')."
            )
        return self.head("matching")

    def frame_sims(
        self,
        frame_cls: torch.Tensor,
        frame_features: torch.Tensor,
        text_cls: torch.Tensor,
        text_features: torch.Tensor,
    ) -> torch.Tensor | None:
        """Similarities (T, V, N) that PFA turns into weights; None without PFA.

        Args:
            frame_cls (Tensor): Class tokens of the frames, (V, N, D).
            frame_features (Tensor): Frame features, (V, N, E).
            text_cls (Tensor): Class tokens of the texts, (T, D).
            text_features (Tensor): Text features, (T, E).
        """
        if self.pfa is None:
            return None
        return self.pfa.frame_sims(frame_cls, frame_features, text_cls, text_features)

    def match(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        visual_tokens: torch.Tensor,
        frame_sims: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Match texts with media row by row.

        Args:
            input_ids (Tensor): (P, L), ``[CLS]`` first; ``[ENC]`` is put in its place here.
            attention_mask (Tensor): (P, L), 0 where a token is padding.
            visual_tokens (Tensor): (P, N, M, D) from :meth:`encode_visual`.
            frame_sims (Tensor, optional): (P, N) raw similarities of each pair, which PFA turns
                into weights. None weighs all frames alike.

        Returns:
            Tensor: Logits (P, 2); column 1 means that text and medium belong together.

        Raises:
            ValueError: If texts, media and similarities don't go together.
        """
        words = Words(input_ids, attention_mask)
        return self.matching(self._fused(words, visual_tokens, frame_sims))

    def _fused(
        self,
        words: Words,
        tokens: torch.Tensor,
        sims: torch.Tensor | None,
        owner: torch.Tensor | None = None,
        states: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """First tokens (P, D) of P texts that have read visual tokens (V, N, M, D).

        With similarities (P, N), the medium ``owner[p]`` that each text reads, and the text role's
        states (P, L, D) where the fusion continues from them.
        """
        fusion, factor = self.role("fusion"), self.factor(sims, *tokens.shape[1:3])
        memory = fusion.memory(tokens.flatten(1, 2), owner=owner, factor=factor)
        return fusion.fuse(words, memory, "first", states)[:, 0]

    def factor(
        self, frame_sims: torch.Tensor | None, frames: int, tokens_per_frame: int
    ) -> Factor | None:
        """What PFA makes of similarities (P, N) of pairs; see :func:`factor_of`."""
        if self.pfa is None or frame_sims is None:
            return None
        return factor_of(self.pfa, frame_sims, frames, tokens_per_frame)

    def scorer(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, chunk: int = 256
    ) -> Scorer:
        """What scores one medium after another against the same texts.

        Args:
            input_ids (Tensor): (T, L), ``[CLS]`` first, on any device.
            attention_mask (Tensor): (T, L).
            chunk (int): Texts run at a time. Defaults to 256.
        """
        return self.execution.scorer(self, input_ids, attention_mask, chunk)

    def score_texts(
        self,
        visual_tokens: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        frame_sims: torch.Tensor | None = None,
        chunk: int = 256,
    ) -> torch.Tensor:
        """Score one medium against texts; for many media make a :meth:`scorer` once.

        Args:
            visual_tokens (Tensor): (N, M, D) of the medium.
            input_ids (Tensor): See :meth:`scorer`.
            attention_mask (Tensor): See :meth:`scorer`.
            frame_sims (Tensor, optional): (T, N), see :meth:`match`.
            chunk (int): See :meth:`scorer`.

        Returns:
            Tensor: (T,) logits, see :meth:`Scorer.score`, which says what is refused.
        """
        scorer = self.scorer(input_ids, attention_mask, chunk)
        return scorer.score(visual_tokens, frame_sims=frame_sims)

    def matching_loss(self, batch: MatchBatch, temperature: torch.Tensor) -> torch.Tensor:
        """ITM of the positives, a hard negative medium a text and a hard negative text a medium.

        Args:
            batch (MatchBatch): Texts and media of this rank.
            temperature (Tensor): Scalar that divides the similarities by which negatives are drawn.

        Returns:
            Tensor: Scalar, see :meth:`MatchingHead.loss`.
        """
        matching = self.matching
        matching.count()
        batch, pairs = matching.pairs(batch, temperature)
        tokens = batch.tokens
        sims = self.frame_sims(tokens[:, :, 0], batch.frames, batch.text_cls, batch.text)
        chosen = None if sims is None else sims[pairs.texts, pairs.media]
        words = Words(batch.input_ids[pairs.texts], batch.mask[pairs.texts])
        states = None if batch.states is None else batch.states[pairs.texts]
        fused = self._fused(words, tokens, chosen, pairs.media, states)
        return matching.loss(fused, pairs.labels)
