"""BLIP's visual tower: mmpretrain's VisionTransformer around layers with sites."""

from __future__ import annotations

from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from uniadapter.checkpoints.compare import has_place
from uniadapter.registry import MODELS
from uniadapter.utils.compat import mmpretrain_models

from ..linears import adapted
from ..prefix_cache import PrefixCache
from ..prefix_identity import draws
from ..sites import Grid, LayerSites, Slot
from .image_size import check_pixels, check_sides

_ViT = mmpretrain_models().VisionTransformer
_Attention = mmpretrain_models().utils.MultiheadAttention
_ARCHES = {
    "b": {"embed_dims": 768, "num_layers": 12, "num_heads": 12, "feedforward_channels": 3072},
    "l": {"embed_dims": 1024, "num_layers": 24, "num_heads": 16, "feedforward_channels": 4096},
}
_ARCH_KEYS = set(_ARCHES["b"])


def sizes_of(arch: str | dict, img_size: int, patch_size: int) -> dict[str, int]:
    """Sizes of a visual tower.

    Args:
        arch (str | dict): ``'b'`` (12 x 768), ``'l'`` (24 x 1024) or a dict of the sizes.
        img_size (int): Side of the square input in pixels.
        patch_size (int): Side of a patch in pixels.

    Returns:
        dict: ``embed_dims``, ``num_layers``, ``num_heads`` and ``feedforward_channels``.

    Raises:
        ValueError: If ``arch`` is unknown or incomplete, or the image is no multiple of a patch.
    """
    if isinstance(arch, str):
        if arch not in _ARCHES:
            raise ValueError(f"visual.arch={arch!r} is unknown: use 'b', 'l' or a dict.")
        arch = _ARCHES[arch]
    if set(arch) != _ARCH_KEYS:
        raise ValueError(f"visual.arch needs exactly the keys {sorted(_ARCH_KEYS)}: {arch}.")
    if arch["embed_dims"] % arch["num_heads"]:
        raise ValueError(
            f"visual.arch.embed_dims={arch['embed_dims']} is no multiple of "
            f"visual.arch.num_heads={arch['num_heads']}."
        )
    check_sides(img_size, patch_size)
    return dict(arch)


class Prefix(NamedTuple):
    """What the visual tower has computed when it meets its first trained term.

    Attributes:
        layer (int): Layers that are run; with a residual, all of the last one but its last site.
        x (Tensor): Tokens (B, M, D).
        residual (Tensor, optional): What the site ``after_self`` of layer ``layer - 1`` sees,
            (B, M, D).
    """

    layer: int
    x: torch.Tensor
    residual: torch.Tensor | None


class BlipAttention(_Attention):  # type: ignore[misc, valid-type]
    """mmpretrain's attention, with fewer copies in the backward pass and a form for one query."""

    def forward(
        self, x: torch.Tensor, site: Slot | None = None, class_only: bool = False
    ) -> torch.Tensor:
        """Attend within an image.

        Args:
            x (Tensor): Tokens (B, M, D), the class token first.
            site (Slot, optional): Whose term is added to the output projection's output.
            class_only (bool): Compute the class token's output alone. Defaults to False.

        Returns:
            Tensor: (B, M, D), or (B, 1, D) with ``class_only``.
        """
        width, split = self.embed_dims, (-1, (self.num_heads, self.head_dims))
        # Another module in the place of the projection (peft's LoRA) has more than a weight.
        if class_only and type(self.qkv) is nn.Linear:
            weight, bias = self.qkv.weight, self.qkv.bias
            query = F.linear(x[:, :1], weight[:width], bias[:width])
            parts = [query, *F.linear(x, weight[width:], bias[width:]).split(width, dim=-1)]
        else:
            # Split, not indexed: indices would each fill a tensor of all three with zeros in the
            # backward pass.
            parts = list(self.qkv(x).split(width, dim=-1))
            if class_only:
                parts[0] = parts[0][:, :1]
        query, key, value = (part.unflatten(*split).transpose(1, 2) for part in parts)
        drop = self.attn_drop if self.training else 0.0
        out = F.scaled_dot_product_attention(query, key, value, dropout_p=drop)
        out = self.proj(out.transpose(1, 2).flatten(2))
        if site is not None:
            out = site.add(out, out, x[:, :1] if class_only else x)
        return self.out_drop(self.gamma1(self.proj_drop(out)))


class FeedForward(nn.Module):
    """mmpretrain's feed-forward network, with a site between the network and its dropout.

    Args:
        ffn (nn.Module): The network whose modules it takes over, under their names.
    """

    def __init__(self, ffn: Any) -> None:
        super().__init__()
        self.layers = ffn.layers
        self.dropout_layer = ffn.dropout_layer

    def forward(self, x: torch.Tensor, site: Slot | None = None) -> torch.Tensor:
        """Return what is added to the stream for ``x`` (B, M, D)."""
        out = self.layers(x)
        return self.dropout_layer(out if site is None else site.add(out, out, x))


class VitLayer(nn.Module):
    """Pre-LN layer ``x1 = x + attn(ln1 x)``, ``x1 + ffn(ln2 x1) + after_self(x1)``.

    An adapter at ``after_self`` acts parallel to the feed-forward network. Parameter names are
    mmpretrain's.

    Args:
        layer (nn.Module): mmpretrain's layer, whose modules it takes over.
        num_heads (int): Attention heads.
    """

    def __init__(self, layer: Any, num_heads: int) -> None:
        super().__init__()
        width = layer.embed_dims
        drop = {"type": "DropPath", "drop_prob": layer.attn.out_drop.drop_prob}
        self.ln1 = layer.ln1
        self.attn = BlipAttention(width, num_heads, dropout_layer=drop)
        self.ln2 = layer.ln2
        self.ffn = FeedForward(layer.ffn)
        self.at = LayerSites.of(width, "into", "attn", "mid", "ffn", "after_self")

    def body(
        self, x: torch.Tensor, grid: Grid | None, class_only: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """All but the site ``after_self``, and what that site sees."""
        at = self.at
        x = at.into.add(x, x, grid=grid)
        attended = self.attn(self.ln1(x), at.attn, class_only)
        x = (x[:, :1] if class_only else x) + attended
        x = at.mid.add(x, x, grid=grid)
        return x + self.ffn(self.ln2(x), at.ffn), x

    def forward(
        self, x: torch.Tensor, grid: Grid | None = None, class_only: bool = False
    ) -> torch.Tensor:
        """Run the layer.

        Args:
            x (Tensor): Tokens (B, M, D), the class token first.
            grid (Grid, optional): How they lie.
            class_only (bool): Compute the class token alone. Defaults to False.

        Returns:
            Tensor: (B, M, D), or (B, 1, D) with ``class_only``.
        """
        out, residual = self.body(x, grid, class_only)
        return self.at.after_self.add(out, residual)


@MODELS.register_module()
class BlipViT(_ViT):  # type: ignore[misc, valid-type]
    """Pre-LN vision transformer of :class:`VitLayer`.

    Called, it returns what a backbone of mmpretrain returns; :meth:`tokens` are for tasks.

    Args:
        arch (str | dict): ``'b'`` (12 x 768), ``'l'`` (24 x 1024) or a dict with ``embed_dims``,
            ``num_layers``, ``num_heads`` and ``feedforward_channels``.
        img_size (int): Side of the square input in pixels. Position embeddings of another size
            are interpolated when a checkpoint is loaded.
        patch_size (int): Side of a patch in pixels. Defaults to 16.
        drop_path_rate (float): Stochastic depth of the last layer, growing linearly from 0 at the
            first one. Defaults to 0.
        grad_checkpointing (bool): Recompute each layer in the backward pass. Defaults to False.
        out_type (str): What a call returns: ``'cls_token'``, ``'raw'`` (all tokens), ``'featmap'``
            or ``'avg_featmap'``. Defaults to ``'cls_token'``.

    Raises:
        ValueError: If ``arch`` is unknown or incomplete, ``out_type`` is unknown, or the image is
            no multiple of a patch.
    """

    roles = ("visual",)

    def __init__(
        self,
        arch: str | dict = "b",
        img_size: int = 224,
        patch_size: int = 16,
        drop_path_rate: float = 0.0,
        grad_checkpointing: bool = False,
        out_type: str = "cls_token",
    ) -> None:
        if out_type not in self.OUT_TYPES:
            raise ValueError(
                f"visual.out_type={out_type!r} is unknown: use one of {sorted(self.OUT_TYPES)}."
            )
        arch = sizes_of(arch, img_size, patch_size)
        super().__init__(
            arch=arch,
            img_size=img_size,
            patch_size=patch_size,
            drop_path_rate=drop_path_rate,
            norm_cfg={"type": "LN", "eps": 1e-6},
            out_type=out_type,
        )
        self.layers: Any = nn.ModuleList(
            VitLayer(layer, arch["num_heads"]) for layer in self.layers
        )
        self.patch_size = patch_size
        self.grad_checkpointing = grad_checkpointing
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

    def _prepare_pos_embed(self, state_dict: dict, prefix: str, *args: Any, **kwargs: Any) -> None:
        """Interpolate position embeddings of another image size before they are loaded.

        In the tower's own precision: mmpretrain rounds the result to that of the file.
        """
        name = f"{prefix}pos_embed"
        if name in state_dict and state_dict[name].shape != self.pos_embed.shape:
            file, own = state_dict[name].shape, self.pos_embed.shape
            if not has_place(name, file, own):
                raise ValueError(
                    f"{name} of shape {tuple(file)} is no square of patches and one class token of "
                    f"width {own[-1]}: the weights are not of this tower."
                )
            state_dict[name] = state_dict[name].to(self.pos_embed.dtype)
        super()._prepare_pos_embed(state_dict, prefix, *args, **kwargs)

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
        check_pixels(x.shape, self.patch_size)
        x, resolution = self.patch_embed(x)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1)
        pos = self.resize_pos_embed(
            self.pos_embed, self.patch_resolution, resolution, self.interpolate_mode, 1
        )
        return self.drop_after_pos(x + pos)

    def sites(self) -> list[tuple[int, LayerSites]]:
        """Sites of the layers with their numbers from 0."""
        return [(index, layer.at) for index, layer in enumerate(self.layers)]

    def role_layers(self, role: str) -> list[nn.Module]:
        """The layers that run in a role, in order: all."""
        return list(self.layers)

    def _embedding_fixed(self) -> bool:
        """Whether nothing before the first layer is trained."""
        own = (self.pos_embed, self.cls_token, *self.patch_embed.parameters())
        parts = chain(self.patch_embed.modules(), self.drop_after_pos.modules())
        trained = any(p.requires_grad for p in own) or adapted(self.patch_embed)
        return not trained and not any(map(draws, parts))

    def _fixed(self, layer: Any) -> bool:
        """Whether the layer, but for its sites, gives the same in two runs of one step."""
        # Stochastic depth and dropout (a frozen LoRA's) are another draw in every run.
        drawn = any(map(draws, layer.modules()))
        trained = any(p.requires_grad for p in layer.parameters()) or adapted(layer)
        return not drawn and not trained

    def frozen_layers(self) -> int:
        """Leading layers, counted with the embedding, without a trained weight or a filled site."""
        if not self._embedding_fixed():
            return 0
        for index, layer in enumerate(self.layers):
            if layer.at.filled() or not self._fixed(layer):
                return index
        return self.num_layers

    @torch.no_grad()
    def frozen_tokens(self, images: torch.Tensor, layers: int) -> torch.Tensor:
        """Tokens (B, M, D) of images (B, 3, H, W) after the first ``layers``, without a graph."""
        x = self.embed(images)
        for index in range(layers):
            x = self.layers[index](x)
        return x

    @torch.no_grad()
    def prefix(self, images: torch.Tensor, cache: PrefixCache | None = None) -> Prefix | None:
        """Run what lies below the first trained term, without a graph.

        The result serves the online and the momentum model: nothing in it is trained.

        Args:
            images (Tensor): (B, 3, H, W), normalised.
            cache (PrefixCache, optional): Where the tokens of the wholly frozen layers are kept.

        Returns:
            Prefix: To be continued by :meth:`forward`; None where not even the embedding is frozen.
        """
        frozen = self.frozen_layers()
        if cache is not None and not cache.usable(frozen, self.training):
            cache = None
        if cache is None and not self._embedding_fixed():
            return None
        x = self.frozen_tokens(images, frozen) if cache is None else cache(self, images, frozen)
        if frozen < self.num_layers:
            layer = self.layers[frozen]
            if self._fixed(layer) and layer.at.filled() == ["after_self"]:
                # All but that site is frozen as well.
                x, residual = layer.body(x, None, False)
                return Prefix(frozen + 1, x, residual)
        return Prefix(frozen, x, None)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        """Encode images for a head of another OpenMMLab project, as mmpretrain's own tower.

        Args:
            x (Tensor): Images of shape (B, 3, H, W), normalised.

        Returns:
            tuple: One output of the last layer, by ``out_type``: the class token (B, D), all tokens
            (B, M, D), patches (B, D, H/p, W/p) or their normalised mean (B, D).
        """
        size, patch = x.shape[-2:], self.patch_size
        grid = (size[0] // patch, size[1] // patch)
        return (self._format_output(self.tokens(x), grid),)

    def tokens(
        self,
        x: torch.Tensor,
        prefix: Prefix | None = None,
        class_only: bool = False,
        frames: int = 1,
    ) -> torch.Tensor:
        """Encode images.

        Args:
            x (Tensor): Images of shape (B, 3, H, W), normalised; only its shape counts with a
                prefix.
            prefix (Prefix, optional): From :meth:`prefix`, of the same images.
            class_only (bool): Compute only the class token in the last layer, where nothing else is
                read of the output. Defaults to False.
            frames (int): How many images, one after another, are a video; adapters that act over
                time want to know. Defaults to 1.

        Returns:
            Tensor: Tokens of shape (B, 1 + H/p * W/p, D) after the final LayerNorm; (B, 1, D) with
            ``class_only``.
        """
        start, patch = 0, self.patch_size
        grid = Grid(frames, x.shape[-2] // patch, x.shape[-1] // patch)
        if prefix is None:
            x = self.embed(x)
        else:
            start, x = prefix.layer, prefix.x
            if prefix.residual is not None:
                x = self.layers[start - 1].at.after_self.add(x, prefix.residual)
        for index in range(start, self.num_layers):
            layer = self.layers[index]
            last = class_only and index == self.num_layers - 1 and layer.at.local()
            # The non-reentrant form: the reentrant one drops the gradients of adapters that sit
            # behind a frozen input.
            if self.grad_checkpointing and self.training and torch.is_grad_enabled():
                x = checkpoint(layer, x, grid, last, use_reentrant=False)
            else:
                x = layer(x, grid, last)
        return self.ln1(x[:, :1] if class_only else x)
