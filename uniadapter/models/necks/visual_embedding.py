"""Features from files as tokens of a language model: VL-T5's visual embedding (Cho et al. 2021)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

#: A first and a second picture.
PICTURES = 2


class VisualEmbedding(nn.Module):
    """Project features and boxes, and add which picture and which thing of it they are.

    With features f (D), box (x1, x2, y1, y2) in 0..1, number of the picture i and of the thing n::

        v = norm(W f + b) + norm(W' [x1, x2, y1, y2, (y2 - y1)(x2 - x1)] + b') + E[i] + T[V - 1 - n]

    T is the language model's table of V words, whose last ones stand for things; it is handed over
    with every call. Features of a grid have no boxes, all are 0 then. Parameters have the names of
    the released code.

    Args:
        width (int): Width D of the features.
        dim (int): Width of the tokens.
        norm (Callable, optional): Makes a norm of that width. Defaults to ``nn.LayerNorm(dim)``.
    """

    def __init__(self, width: int, dim: int, norm: Callable[[], nn.Module] | None = None) -> None:
        super().__init__()
        make = norm or (lambda: nn.LayerNorm(dim))
        self.width = width
        self.feat_embedding = nn.Sequential(nn.Linear(width, dim), make())
        self.absolute_vis_pos_embedding = nn.Sequential(nn.Linear(5, dim), make())
        self.img_order_embedding = nn.Embedding(PICTURES, dim)

    def check(self, features: torch.Tensor) -> None:
        """Refuse features of another shape than (B, I, N, D).

        Raises:
            ValueError: If it is another one.
        """
        if features.dim() != 4 or features.shape[-1] != self.width:
            raise ValueError(
                f"Features must be (B, I, N, {self.width}) of I pictures, the last number being "
                f"model.feature_width; got {tuple(features.shape)}."
            )

    def forward(
        self,
        features: torch.Tensor,
        table: Callable[[torch.Tensor], torch.Tensor],
        rows: int,
        boxes: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Make tokens.

        Args:
            features (Tensor): Of I pictures, (B, I, N, D).
            table (Callable): Gives rows of the table for ids.
            rows (int): Rows V of the table.
            boxes (Tensor, optional): (B, I, N, 4). Defaults to None: all are 0.

        Returns:
            Tensor: (B, I * N, dim), those of the first picture in front.

        Raises:
            ValueError: If a shape is another one, or there are more pictures than two or more
                features than words.
        """
        self.check(features)
        pictures, things = features.shape[1:3]
        if not 1 <= pictures <= PICTURES or not 1 <= things <= rows:
            raise ValueError(
                f"{pictures} pictures of {things} features: there may be one picture or two, and "
                f"no more features of one than the {rows} words of the language model."
            )
        dtype = self.img_order_embedding.weight.dtype
        if boxes is None:
            boxes = features.new_zeros(*features.shape[:3], 4)
        if boxes.shape != (*features.shape[:3], 4):
            raise ValueError(
                f"Boxes of features {tuple(features.shape)} must be "
                f"{(*features.shape[:3], 4)}, got {tuple(boxes.shape)}."
            )
        boxes = boxes.to(dtype)
        x1, x2, y1, y2 = boxes.unbind(-1)
        places = torch.cat((boxes, ((y2 - y1) * (x2 - x1))[..., None]), -1)
        tokens = self.feat_embedding(features.to(dtype)) + self.absolute_vis_pos_embedding(places)
        order = torch.arange(pictures, device=features.device)
        ids = rows - 1 - torch.arange(things, device=features.device)
        tokens = tokens + self.img_order_embedding(order)[:, None] + table(ids)
        return tokens.flatten(1, 2)


def pool_grid(features: torch.Tensor, tokens: int | None) -> torch.Tensor:
    """Pool the features of square grids to smaller ones, each cell the maximum of what it covers.

    Args:
        features (Tensor): (B, I, N, D), rows of a grid one behind the other.
        tokens (int, optional): N afterwards, a square number. None, or N itself: as they are.

    Returns:
        Tensor: (B, I, tokens, D).

    Raises:
        ValueError: If N is no square number and not ``tokens``.
    """
    count = features.shape[2]
    if tokens is None or count == tokens:
        return features
    side, wanted = math.isqrt(count), math.isqrt(tokens)
    if side * side != count or wanted * wanted != tokens:
        raise ValueError(
            f"{count} features are to become model.visual_tokens={tokens}, and that is done with "
            "square grids alone: set model.visual_tokens to None, or to the number of features."
        )
    grids = features.flatten(0, 1).transpose(1, 2).unflatten(2, (side, side))
    pooled = F.adaptive_max_pool2d(grids, (wanted, wanted)).flatten(2).transpose(1, 2)
    return pooled.unflatten(0, features.shape[:2])
