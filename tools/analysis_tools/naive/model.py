"""Encoding and matching the plain way: every pair has its own copy of the medium."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from uniadapter.models.adapters import UniAdapter

from .layers import PairStates, linear, text_tokens, visual_tokens

#: All captions are padded to so many tokens, as BLIP's code does.
TEXT_LENGTH = 35


class NaiveModel(nn.Module):
    """BLIP or ALBEF with UniAdapter, on the modules of a retrieval model.

    The modules are shared, not copied: a change of the model's weights is a change here.

    Args:
        model (RetrievalModel): Where towers, adapter, heads and PFA come from.
        text_length (int): Tokens that every text is padded to. Defaults to 35.

    Raises:
        ValueError: If the model has an adapter that is no UniAdapter.
    """

    def __init__(self, model: Any, text_length: int = TEXT_LENGTH) -> None:
        super().__init__()
        if model.adapter is not None and not isinstance(model.adapter, UniAdapter):
            raise ValueError(
                f"model.adapter is a {type(model.adapter).__name__}: the naive reference knows "
                "UniAdapter and no adapter at all."
            )
        self.visual, self.text, self.adapter = model.visual, model.text, model.adapter
        self.vision_proj, self.text_proj = model.vision_proj, model.text_proj
        self.itm_head, self.pfa = model.itm_head, model.pfa
        self.enc_token_id: int = model.enc_token_id
        self.text_length = text_length
        self.train(model.training)

    def pad(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pad texts (T, L) to ``text_length``.

        Raises:
            ValueError: If they are longer.
        """
        missing = self.text_length - input_ids.shape[1]
        if missing < 0:
            raise ValueError(
                f"Texts of {input_ids.shape[1]} tokens don't fit text_length={self.text_length}."
            )
        return F.pad(input_ids, (0, missing)), F.pad(attention_mask, (0, missing))

    def encode_visual(
        self, pixels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Encode videos, as ``RetrievalModel.encode_visual`` does.

        Args:
            pixels (Tensor): (B, N, 3, H, W).

        Returns:
            tuple: Tokens (B, N, M, D), video features (B, E) and frame features (B, N, E).
        """
        tokens = visual_tokens(self.visual, self.adapter, pixels.flatten(0, 1))
        tokens = tokens.unflatten(0, pixels.shape[:2])
        cls = tokens[:, :, 0]
        feature = F.normalize(linear(self.vision_proj, cls.mean(1)), dim=-1)
        return tokens, feature, F.normalize(linear(self.vision_proj, cls), dim=-1)

    def encode_text(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode texts (T, L), padded.

        Returns:
            tuple: Class tokens (T, D) and features (T, E).
        """
        ids, mask = self.pad(input_ids, attention_mask)
        cls = text_tokens(self.text, self.adapter, ids, mask)[:, 0]
        return cls, F.normalize(linear(self.text_proj, cls), dim=-1)

    def frame_sims(
        self,
        frame_cls: torch.Tensor,
        frame_features: torch.Tensor,
        text_cls: torch.Tensor,
        text_features: torch.Tensor,
    ) -> torch.Tensor | None:
        """Similarity of each pair's text to its frames, which PFA turns into weights.

        Args:
            frame_cls (Tensor): (P, N, D).
            frame_features (Tensor): (P, N, E).
            text_cls (Tensor): (P, D).
            text_features (Tensor): (P, E).

        Returns:
            Tensor, optional: (P, N); None without PFA.
        """
        if self.pfa is None:
            return None
        if self.pfa.variant == "released":
            return (frame_features * text_features[:, None]).sum(-1).detach()
        return (frame_cls * text_cls[:, None]).sum(-1)

    def _states(self, tokens: torch.Tensor, sims: torch.Tensor | None) -> PairStates:
        """Apply PFA to tokens (P, N, M, D) of pairs with similarities (P, N)."""
        if self.pfa is None or sims is None or sims.shape[1] == 1:
            return PairStates(tokens.flatten(1, 2))
        weights = torch.softmax(sims / self.pfa.temperature, dim=-1)
        if self.pfa.variant == "released":
            weights = weights * sims.shape[1]
        factor = weights[:, :, None].repeat(1, 1, tokens.shape[2])
        factor[:, :, 0] = 1.0
        factor = factor.flatten(1, 2)
        if self.pfa.variant == "released":
            return PairStates(tokens.flatten(1, 2), factor)
        return PairStates(tokens.flatten(1, 2) * factor[:, :, None])

    def match(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        visual_tokens: torch.Tensor,
        frame_sims: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Match texts with media row by row.

        Args:
            input_ids (Tensor): (P, L).
            attention_mask (Tensor): (P, L).
            visual_tokens (Tensor): (P, N, M, D), a copy of its medium for every pair.
            frame_sims (Tensor, optional): (P, N).

        Returns:
            Tensor: Logits (P, 2).
        """
        ids, mask = self.pad(input_ids.clone(), attention_mask)
        if not self.text.fusion_layer:
            # ALBEF's fused texts go on from their states and have no mark of their own.
            ids[:, 0] = self.enc_token_id
        states = self._states(visual_tokens, frame_sims)
        hidden = text_tokens(self.text, self.adapter, ids, mask, states)
        return linear(self.itm_head, hidden[:, 0])

    def score_texts(
        self,
        visual_tokens: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        frame_sims: torch.Tensor | None = None,
        chunk: int = 8,
    ) -> torch.Tensor:
        """Score one medium against many texts.

        Args:
            visual_tokens (Tensor): (N, M, D) of the medium, repeated for every text of a chunk.
            input_ids (Tensor): (T, L).
            attention_mask (Tensor): (T, L).
            frame_sims (Tensor, optional): (T, N).
            chunk (int): Texts a call.

        Returns:
            Tensor: (T,) logits that text and medium belong together.
        """
        scores = []
        for start in range(0, len(input_ids), chunk):
            part = slice(start, start + chunk)
            ids = input_ids[part]
            repeated = visual_tokens[None].repeat(len(ids), 1, 1, 1)
            sims = None if frame_sims is None else frame_sims[part]
            scores.append(self.match(ids, attention_mask[part], repeated, sims)[:, 1])
        return torch.cat(scores)
