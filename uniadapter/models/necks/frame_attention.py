"""Parameter-free frame-aware attention (paper section 3.5, eq. 7-8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from uniadapter.registry import MODELS
from uniadapter.utils.tensors import at_least_float32

from ..adapters.base import check_choice
from ..execution import Factor


@MODELS.register_module()
class FrameAwareAttention(nn.Module):
    """Turn the similarity of a text to each frame into a factor on the frames' patch tokens.

    * ``'paper'``: ``A = softmax_i(f_i . f_t)`` on the class tokens; patch tokens are multiplied by
      A before keys and values are formed (eq. 7-8).
    * ``'released'`` (the authors' code): ``A = N softmax_i(g_i / 4)`` of the cosines g of the
      contrastive features, without gradient; only the keys of patch tokens are multiplied.

    Class tokens always keep their weight. One frame has the factor 1 in both variants.

    Args:
        variant (str): ``'released'`` (default) or ``'paper'``.
        temperature (float, optional): Divides the similarities. Defaults to 4 for ``'released'``
            and 1 for ``'paper'``.

    Raises:
        ValueError: If the variant is unknown or the temperature is not positive.
    """

    def __init__(self, variant: str = "released", temperature: float | None = None) -> None:
        super().__init__()
        check_choice(variant, ("released", "paper"), "pfa.variant")
        self.variant = variant
        if temperature is None:
            temperature = 4.0 if variant == "released" else 1.0
        if temperature <= 0:
            raise ValueError(f"pfa.temperature={temperature} must be positive.")
        self.temperature = float(temperature)

    def check_widths(self, visual: int, text: int) -> None:
        """Refuse towers that the variant can't compare.

        Args:
            visual (int): Width of the visual tower.
            text (int): Width of the text tower.

        Raises:
            ValueError: If the paper variant meets towers of different width.
        """
        if self.variant == "paper" and visual != text:
            raise ValueError(
                f"pfa.variant='paper' multiplies class tokens, but the towers' widths differ "
                f"({visual} and {text}): use pfa.variant='released'."
            )

    def forward(
        self,
        frame_cls: torch.Tensor,
        frame_features: torch.Tensor,
        text_cls: torch.Tensor,
        text_features: torch.Tensor,
    ) -> torch.Tensor:
        """Weight A of every frame for every text; :meth:`token_weights` spreads it over tokens.

        Args:
            frame_cls (Tensor): Class tokens of the frames of V videos, (V, N, D).
            frame_features (Tensor): Their normalised contrastive features, (V, N, E).
            text_cls (Tensor): Class tokens of T texts, (T, D).
            text_features (Tensor): Their normalised contrastive features, (T, E).

        Returns:
            Tensor: (T, V, N), at least float32; over the frames they sum to N in the released
            variant, to 1 in the paper's.

        Raises:
            ValueError: If the paper variant meets towers of different width.
        """
        sims = self.frame_sims(frame_cls, frame_features, text_cls, text_features)
        return self.weights(sims.flatten(0, 1)).view_as(sims)

    @property
    def weigh_states(self) -> bool:
        """Whether the factor acts before both projections (paper) or on keys only (released)."""
        return self.variant == "paper"

    def frame_sims(
        self,
        frame_cls: torch.Tensor,
        frame_features: torch.Tensor,
        text_cls: torch.Tensor,
        text_features: torch.Tensor,
    ) -> torch.Tensor:
        """Similarity of every text to every frame.

        Args:
            frame_cls (Tensor): Class tokens of the frames, (V, N, D).
            frame_features (Tensor): Normalised contrastive features, (V, N, E).
            text_cls (Tensor): Class tokens of the texts, (T, D).
            text_features (Tensor): Normalised contrastive features, (T, E).

        Returns:
            Tensor: (T, V, N), at least float32; cosines in the released variant, dot products of
            class tokens in the paper's.

        Raises:
            ValueError: If the paper variant meets towers of different width.
        """
        if self.variant == "released":
            text, frames = text_features.detach(), frame_features.detach()
        else:
            self.check_widths(frame_cls.shape[-1], text_cls.shape[-1])
            text, frames = text_cls, frame_cls
        # Autocast would round them to half precision. The paper's are large, and the softmax makes
        # a factor of a difference.
        with torch.autocast(text.device.type, enabled=False):
            return torch.einsum("td,vnd->tvn", at_least_float32(text), at_least_float32(frames))

    def weights(self, sims: torch.Tensor) -> torch.Tensor:
        """Frame weights A of pairs.

        Args:
            sims (Tensor): Similarities of P pairs to their N frames, (P, N).

        Returns:
            Tensor: (P, N); rows sum to N in the released variant, to 1 in the paper's.
        """
        sims = at_least_float32(sims)
        if self.variant == "released":
            return sims.shape[-1] * torch.softmax(sims.detach() / self.temperature, dim=-1)
        return torch.softmax(sims / self.temperature, dim=-1)

    def token_weights(self, sims: torch.Tensor, tokens_per_frame: int) -> torch.Tensor:
        """Factor of every visual token: A for patch tokens, 1 for class tokens.

        Args:
            sims (Tensor): (P, N).
            tokens_per_frame (int): M, the class token included.

        Returns:
            Tensor: (P, N * M).
        """
        weights = self.weights(sims)[:, :, None]
        patches = weights.expand(-1, -1, tokens_per_frame - 1)
        return torch.cat((torch.ones_like(weights), patches), dim=2).flatten(1)


def build_frame_attention(
    config: Mapping[str, Any] | None, visual: int, text: int, matches: bool
) -> Any:
    """Build a model's frame attention and see that the model can use it.

    Args:
        config (Mapping, optional): Config of the neck; None is none.
        visual (int): Width of the visual tower.
        text (int): Width of the text tower.
        matches (bool): Whether the model matches texts with media, which is what frames are
            weighted for.

    Returns:
        FrameAwareAttention: Or another registered neck; None without a config.

    Raises:
        ValueError: If the config is no dict with a ``type``, the model does not match, or the
            neck can't compare towers of these widths.
    """
    if config is None:
        return None
    if not isinstance(config, Mapping):
        raise ValueError(f"model.pfa={config!r} must be a dict with a `type`, or None.")
    if not matches:
        raise ValueError(
            "model.pfa weighs frames for image-text matching, and the model has "
            "model.matching=None: set model.pfa=None."
        )
    neck = MODELS.build(config)
    if isinstance(neck, FrameAwareAttention):
        neck.check_widths(visual, text)
    return neck


def factor_of(pfa: Any, sims: torch.Tensor, frames: int, tokens_per_frame: int) -> Factor | None:
    """What frame attention makes of the similarities of pairs.

    Args:
        pfa (FrameAwareAttention): Or another registered neck.
        sims (Tensor): (P, N).
        frames (int): N.
        tokens_per_frame (int): M, the class token included.

    Returns:
        Factor: Of every visual token, (P, N * M); None of a single frame, which counts as it is.

    Raises:
        ValueError: If the similarities are of another number of frames.
    """
    if sims.shape[-1] != frames:
        raise ValueError(f"{frames} frames, but frame_sims {tuple(sims.shape)} (P, N).")
    if frames == 1:
        return None
    return Factor(pfa.token_weights(sims, tokens_per_frame), pfa.weigh_states)
