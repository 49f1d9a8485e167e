"""BLIP's visual tower: mmpretrain's VisionTransformer, its layers given a slot."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from uniadapter.registry import MODELS
from uniadapter.utils.compat import mmpretrain_models

from ..slots import Slot

_ViT = mmpretrain_models().VisionTransformer
_ARCHES = {
    "b": {"embed_dims": 768, "num_layers": 12, "num_heads": 12, "feedforward_channels": 3072},
    "l": {"embed_dims": 1024, "num_layers": 24, "num_heads": 16, "feedforward_channels": 4096},
}
_ARCH_KEYS = set(_ARCHES["b"])


@MODELS.register_module()
class BlipViT(_ViT):  # type: ignore[misc, valid-type]
    """Pre-LN vision transformer that returns all tokens, with one slot a layer.

    A layer computes ``x1 = x + attn(ln1 x)`` and ``x1 + mlp(ln2 x1) + slot(x1)``: an adapter acts
    parallel to the feed-forward network. Parameter names are mmpretrain's.

    Args:
        arch (str | dict): ``'b'`` (12 x 768), ``'l'`` (24 x 1024) or a dict with ``embed_dims``,
            ``num_layers``, ``num_heads`` and ``feedforward_channels``.
        img_size (int): Side of the square input in pixels. Position embeddings of another size
            are interpolated when a checkpoint is loaded.
        patch_size (int): Side of a patch in pixels. Defaults to 16.
        drop_path_rate (float): Stochastic depth of the last layer, growing linearly from 0 at the
            first one. Defaults to 0.
        grad_checkpointing (bool): Recompute each layer in the backward pass. Defaults to False.

    Raises:
        ValueError: If ``arch`` is unknown or incomplete, or the image is no multiple of a patch.
    """

    def __init__(
        self,
        arch: str | dict = "b",
        img_size: int = 224,
        patch_size: int = 16,
        drop_path_rate: float = 0.0,
        grad_checkpointing: bool = False,
    ) -> None:
        if isinstance(arch, str):
            if arch not in _ARCHES:
                raise ValueError(f"visual.arch={arch!r} is unknown: use 'b', 'l' or a dict.")
            arch = _ARCHES[arch]
        if set(arch) != _ARCH_KEYS:
            raise ValueError(f"visual.arch needs exactly the keys {sorted(_ARCH_KEYS)}: {arch}.")
        if img_size % patch_size:
            raise ValueError(
                f"visual.img_size={img_size} is no multiple of visual.patch_size={patch_size}."
            )
        super().__init__(
            arch=dict(arch),
            img_size=img_size,
            patch_size=patch_size,
            drop_path_rate=drop_path_rate,
            norm_cfg={"type": "LN", "eps": 1e-6},
            out_type="raw",
        )
        self.grad_checkpointing = grad_checkpointing
        self.slots = [Slot(self.embed_dims) for _ in range(self.num_layers)]
        self._init_random()

    def _init_random(self) -> None:
        """Initialise as BLIP does (truncated normal 0.02), so that a random tower is usable."""
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def init_weights(self) -> None:
        """Keep the weights as they are: construction has initialised them."""

    def train(self, mode: bool = True) -> BlipViT:
        """Set the mode and return the tower (mmpretrain's own method returns None)."""
        super().train(mode)
        return self

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Embed patches.

        Args:
            x (Tensor): Images of shape (B, 3, H, W).

        Returns:
            Tensor: Tokens of shape (B, M, D), the class token first.
        """
        x, resolution = self.patch_embed(x)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1)
        pos = self.resize_pos_embed(
            self.pos_embed, self.patch_resolution, resolution, self.interpolate_mode, 1
        )
        return self.drop_after_pos(x + pos)

    @staticmethod
    def _layer(layer: Any, slot: Slot, x: torch.Tensor) -> torch.Tensor:
        x = x + layer.attn(layer.ln1(x))
        return slot.add(layer.ffn(layer.ln2(x), identity=x), x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Encode images.

        Args:
            x (Tensor): Images of shape (B, 3, H, W), normalised.

        Returns:
            Tensor: Tokens of shape (B, 1 + H/p * W/p, D) after the final LayerNorm.
        """
        x = self.embed(x)
        for layer, slot in zip(self.layers, self.slots, strict=True):
            # The non-reentrant form: the reentrant one drops the gradients of adapters that sit
            # behind a frozen input.
            if self.grad_checkpointing and self.training and torch.is_grad_enabled():
                x = checkpoint(self._layer, layer, slot, x, use_reentrant=False)
            else:
                x = self._layer(layer, slot, x)
        return self.ln1(x)
