"""VSE-infinity's head: tokens are projected, pooled and compared; hinge loss."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import nn

from uniadapter.registry import MODELS
from uniadapter.utils.tensors import at_least_float32

from .hinge import HingeContrastHead

# Guard of the features' lengths.
_EPS = 1e-8
_POOLING = {"type": "GeneralizedPooling"}


@MODELS.register_module()
class PooledHingeHead(HingeContrastHead):
    """Features of all tokens of an image and of a text (VSE-infinity, arXiv 2011.04305).

    ``x / (|x| + 1e-8)`` with ``x = pool(projected tokens)``, a pooling of its own for images and for
    texts, and the triplet loss of :class:`HingeContrastHead`.

    Args:
        visual_dim (int): Width of the tokens of images.
        text_dim (int): Width of the tokens of texts.
        embed_dim (int): Width E of the features. Defaults to 1024.
        margin (float): Of the cosine similarity. Defaults to 0.2.
        bias (bool): Whether the projections have a bias. Defaults to True.
        pooling (dict): Config of the pooling, :class:`GeneralizedPooling` (default) or
            :class:`TokenMeanPooling`.
        project (Collection[str]): Which of ``'visual'`` and ``'text'`` have a projection; the tokens
            of the other come in the width of the features. Defaults to both. A model says it: what
            takes the place of a tower's tokens gives them that width.

    Raises:
        ValueError: If the margin is not positive, or tokens without a projection have another
            width.
    """  # noqa: E501

    def __init__(
        self,
        visual_dim: int,
        text_dim: int,
        embed_dim: int = 1024,
        margin: float = 0.2,
        bias: bool = True,
        pooling: Mapping[str, Any] = _POOLING,
        project: Collection[str] = ("visual", "text"),
    ) -> None:
        super().__init__(visual_dim, text_dim, embed_dim, margin, bias)
        # As VSE-infinity initialises its image side.
        nn.init.xavier_uniform_(self.vision_proj.weight)
        if bias:
            nn.init.zeros_(self.vision_proj.bias)
        for side, name, width in (
            ("visual", "vision_proj", visual_dim),
            ("text", "text_proj", text_dim),
        ):
            if side not in project:
                if width != embed_dim:
                    raise ValueError(
                        f"project={list(project)} leaves {side} tokens of width {width}, and the "
                        f"features are {embed_dim} wide."
                    )
                setattr(self, name, nn.Identity())
        self.visual_pool: nn.Module = MODELS.build(dict(pooling))
        self.text_pool: nn.Module = MODELS.build(dict(pooling))

    def visual(
        self,
        states: torch.Tensor,
        term: torch.Tensor | None = None,
        lengths: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Features (B, E) of images, length 1, at least float32.

        Args:
            states (Tensor): Tokens (B, M, Dv).
            term (Tensor, optional): (B, E), added before the norm.
            lengths (Tensor, optional): (B,), or a mask (B, M); see :class:`GeneralizedPooling`.
        """
        tokens = at_least_float32(self.vision_proj(states))
        return self._feature(self.visual_pool(tokens, lengths), term)

    def text(
        self,
        states: torch.Tensor,
        term: torch.Tensor | None = None,
        lengths: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Features (T, E) of texts with tokens (T, L, Dt); see :meth:`visual`."""
        tokens = at_least_float32(self.text_proj(states))
        return self._feature(self.text_pool(tokens, lengths), term)

    def _feature(self, embedding: torch.Tensor, term: torch.Tensor | None) -> torch.Tensor:
        embedding = at_least_float32(embedding)
        total = embedding if term is None else embedding + term
        return total / (total.norm(dim=-1, keepdim=True) + _EPS) if self.unit else total
