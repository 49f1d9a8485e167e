"""BEiT-3's two towers for retrieval.

The released model keeps every matrix and norm twice, for vision and for language; in retrieval the
two halves never meet. So here each is a tower of its own, made of the same layers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from uniadapter.registry import MODELS
from uniadapter.utils.compat import mmpretrain_models

from ...execution import Want
from ...pretrained import has_place
from ...sites import Grid, TokenSlot
from ...slots import AddedTokens
from ..bert.embeddings import check_length
from ..side_by_side import TextSide, VisualSide
from ..vit import sizes_of
from .layers import Beit3Tower


@MODELS.register_module()
class Beit3Vision(VisualSide, Beit3Tower):
    """BEiT-3's half for images, which returns all tokens.

    Args:
        arch (str | dict): ``'b'`` (12 x 768), ``'l'`` (24 x 1024) or a dict with ``embed_dims``,
            ``num_layers``, ``num_heads`` and ``feedforward_channels``.
        img_size (int): Side of the square input in pixels. Position embeddings of another size
            are interpolated when a checkpoint is loaded. Defaults to 384.
        patch_size (int): Side of a patch in pixels. Defaults to 16.
        drop_path_rate (float): Stochastic depth of the last layer, growing linearly from 0 at the
            first one. Defaults to 0: in a frozen tower it would be noise alone.
        grad_checkpointing (bool): Recompute each layer in the backward pass. Defaults to False.

    Raises:
        ValueError: If ``arch`` is unknown or incomplete, or the image is no multiple of a patch.
    """

    def __init__(
        self,
        arch: str | dict = "b",
        img_size: int = 384,
        patch_size: int = 16,
        drop_path_rate: float = 0.0,
        grad_checkpointing: bool = False,
    ) -> None:
        sizes = sizes_of(arch, img_size, patch_size)
        width, depth = sizes["embed_dims"], sizes["num_layers"]
        heads, hidden = sizes["num_heads"], sizes["feedforward_channels"]
        super().__init__(width, depth, heads, hidden, drop_path_rate, grad_checkpointing)
        self.img_size, self.patch_size, self.embed_dims = img_size, patch_size, width
        side = img_size // patch_size
        self.patch_embed = nn.Conv2d(3, width, patch_size, patch_size)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + side * side, width))
        self._init_random()
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Interpolate position embeddings of another image size before they are loaded."""
        name, own = f"{prefix}pos_embed", self.pos_embed.shape
        table = state_dict.get(name)
        if table is not None and table.shape != own:
            if not has_place(name, table.shape, own):
                raise ValueError(
                    f"{name} of shape {tuple(table.shape)} is no square of patches and one class "
                    f"token of width {own[-1]}: the weights are not of this tower."
                )
            sides = [round((shape[1] - 1) ** 0.5) for shape in (table.shape, own)]
            resize = mmpretrain_models().utils.resize_pos_embed
            table = table.to(self.pos_embed.dtype)
            state_dict[name] = resize(table, *((side, side) for side in sides), "bicubic", 1)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def tokens(
        self,
        x: torch.Tensor,
        want: Want = "all",
        frames: int = 1,
    ) -> torch.Tensor:
        """Encode images.

        Args:
            x (Tensor): Images (B, 3, H, W), normalised.
            want (str): ``'all'`` tokens, or the ``'first'``, the class token, of which the last
                layer then computes no other. Defaults to ``'all'``.
            frames (int): How many images, one after another, are a video. Defaults to 1.

        Returns:
            Tensor: Tokens (B, 1 + H/p * W/p, D) after the final norm; (B, 1, D) of
            the class tokens.

        Raises:
            ValueError: If the images are of another size.
        """
        self.check_size(x)
        x = self.patch_embed(x)
        grid = Grid(frames, *x.shape[-2:])
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x.flatten(2).transpose(1, 2)), 1)
        return self._run(x + self.pos_embed, None, grid, want, AddedTokens())


class Beit3Embeddings(nn.Module):
    """Sum of word and position embeddings, without a norm.

    Args:
        vocab_size (int): Number of words.
        hidden_size (int): Width D.
        max_positions (int): Longest sequence in tokens.
    """

    def __init__(self, vocab_size: int, hidden_size: int, max_positions: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocab_size, hidden_size)
        self.position_embeddings = nn.Embedding(max_positions, hidden_size)

    def forward(self, input_ids: torch.Tensor, added: TokenSlot) -> torch.Tensor:
        """Embed words (B, L) as (B, L, D), or (B, n + L, D) with n tokens of a slot.

        Those have positions of their own and move the words behind them.
        """
        x = added.extend(self.word_embeddings(input_ids))
        check_length(x.shape[1], self.position_embeddings.num_embeddings)
        return x + self.position_embeddings.weight[: x.shape[1]]


@MODELS.register_module()
class Beit3Text(TextSide, Beit3Tower):
    """BEiT-3's half for texts, without cross-attention.

    Args:
        vocab_size (int): Rows of the word table, some of which no piece of the tokenizer uses.
            Defaults to 64010.
        hidden_size (int): Width D. Defaults to 768.
        num_layers (int): Layers. Defaults to 12.
        num_heads (int): Attention heads. Defaults to 12.
        intermediate_size (int): Inner width of the feed-forward networks. Defaults to 3072.
        max_positions (int): Longest text in tokens. Defaults to 1022.
        drop_path_rate (float): Stochastic depth of the last layer, growing linearly from 0 at the
            first one. Defaults to 0.
        grad_checkpointing (bool): Recompute each layer in the backward pass. Defaults to False.
    """

    def __init__(
        self,
        vocab_size: int = 64010,
        hidden_size: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
        intermediate_size: int = 3072,
        max_positions: int = 1022,
        drop_path_rate: float = 0.0,
        grad_checkpointing: bool = False,
    ) -> None:
        sizes = (hidden_size, num_layers, num_heads, intermediate_size)
        super().__init__(*sizes, drop_path_rate, grad_checkpointing)
        self.hidden_size, self.vocab_size = hidden_size, vocab_size
        self.max_positions = max_positions
        self.embeddings = Beit3Embeddings(vocab_size, hidden_size, max_positions)
        self._init_random()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        want: Want = "all",
    ) -> torch.Tensor:
        """Encode texts.

        Args:
            input_ids (Tensor): Word ids (B, L), ``<s>`` first.
            attention_mask (Tensor): (B, L), 0 where a token is padding.
            want (str): ``'all'`` tokens, or the ``'first'`` one only. Defaults to ``'all'``.

        Returns:
            Tensor: Tokens (B, L, D) after the final norm, or (B, 1, D) of the first ones.

        Raises:
            ValueError: If the mask has another shape than the ids, or a text exceeds the position
                table.
        """
        self.check_texts(input_ids, attention_mask)
        # Like words, tokens of a slot are there before positions are.
        added: TokenSlot = self.layers[0].at.tokens
        seen = attention_mask.bool()
        mask = added.longer(seen)
        x = self.embeddings(input_ids, added) * (seen if mask is None else mask)[..., None]
        return self._run(x, mask, None, want, AddedTokens(added))
