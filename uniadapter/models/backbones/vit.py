"""BLIP's visual tower: mmpretrain's VisionTransformer around layers with sites."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from uniadapter.checkpoints.compare import has_place
from uniadapter.registry import MODELS
from uniadapter.utils.compat import mmpretrain_models

from ..execution import Want
from ..linears import intact
from ..sites import Grid, KeySlot, LayerSites, Slot
from ..slots import AddedTokens
from .base import run_layer
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


class BlipAttention(_Attention):  # type: ignore[misc, valid-type]
    """mmpretrain's attention, with fewer copies in the backward pass and a form for one query."""

    def forward(
        self,
        x: torch.Tensor,
        site: Slot | None = None,
        want: Want = "all",
        keys: KeySlot | None = None,
    ) -> torch.Tensor:
        """Attend within an image.

        Args:
            x (Tensor): Tokens (B, M, D), the class token first.
            site (Slot, optional): Whose term is added to the output projection's output.
            want (str): ``'first'`` computes the class token's output alone. Defaults to ``'all'``.
            keys (KeySlot, optional): Puts keys and values in front of those of the image.

        Returns:
            Tensor: (B, M, D), or (B, 1, D) of the class tokens.
        """
        width, split = self.embed_dims, (-1, (self.num_heads, self.head_dims))
        first = want == "first"
        if first and intact(self.qkv):
            weight, bias = self.qkv.weight, self.qkv.bias
            query = F.linear(x[:, :1], weight[:width], bias[:width])
            parts = [query, *F.linear(x, weight[width:], bias[width:]).split(width, dim=-1)]
        else:
            # Split, not indexed: indices would each fill a tensor of all three with zeros in the
            # backward pass.
            parts = list(self.qkv(x).split(width, dim=-1))
            if first:
                parts[0] = parts[0][:, :1]
        query, key, value = (part.unflatten(*split).transpose(1, 2) for part in parts)
        if keys is not None:
            key, value, _ = keys.extend(key, value, None)
        drop = self.attn_drop if self.training else 0.0
        out = F.scaled_dot_product_attention(query, key, value, dropout_p=drop)
        out = self.proj(out.transpose(1, 2).flatten(2))
        if site is not None:
            out = site.add(out, out, x[:, :1] if first else x)
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
        names = ("tokens", "into", "keys", "attn", "mid", "ffn", "out", "after_self")
        self.at = LayerSites.of(width, *names)

    def body(
        self, x: torch.Tensor, grid: Grid | None, want: Want
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """All but the site ``after_self``, and what that site sees."""
        at = self.at
        x = at.into.add(x, x, grid=grid)
        attended = self.attn(self.ln1(x), at.attn, want, at.keys)
        x = (x[:, :1] if want == "first" else x) + attended
        x = at.mid.add(x, x, grid=grid)
        return x + self.ffn(self.ln2(x), at.ffn), x

    def forward(
        self, x: torch.Tensor, grid: Grid | None = None, want: Want = "all"
    ) -> torch.Tensor:
        """Run the layer.

        Args:
            x (Tensor): Tokens (B, M, D), the class token first.
            grid (Grid, optional): How they lie.
            want (str): ``'first'`` computes the class token alone. Defaults to ``'all'``.

        Returns:
            Tensor: (B, M, D), or (B, 1, D) of the class tokens.
        """
        out, residual = self.body(x, grid, want)
        out = self.at.after_self.add(out, residual)
        return self.at.out.add(out, out)


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

    roles: tuple[str, ...] = ("visual",)

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

    def sites(self, role: str = "visual") -> list[tuple[int, LayerSites]]:
        """Sites of the layers with their numbers from 0."""
        return [(index, layer.at) for index, layer in enumerate(self.layers)]

    def role_layers(self, role: str) -> list[nn.Module]:
        """The layers that run in a role, in order: all."""
        return list(self.layers)

    def below(self, layers: int) -> dict[str, torch.Tensor | nn.Module]:
        """What a picture goes through up to the end of the first ``layers``, by name."""
        found: dict[str, torch.Tensor | nn.Module] = {
            "pos_embed": self.pos_embed,
            "cls_token": self.cls_token,
            "patch_embed": self.patch_embed,
            "drop_after_pos": self.drop_after_pos,
        }
        return {**found, **{f"layers.{index}": self.layers[index] for index in range(layers)}}

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

    def tokens(self, x: torch.Tensor, want: Want = "all", frames: int = 1) -> torch.Tensor:
        """Encode images.

        Args:
            x (Tensor): Images of shape (B, 3, H, W), normalised.
            want (str): ``'all'`` tokens, or the ``'first'``, the class token, of which the last
                layer then computes no other. Defaults to ``'all'``.
            frames (int): How many images, one after another, are a video; adapters that act over
                time want to know. Defaults to 1.

        Returns:
            Tensor: Tokens of shape (B, 1 + H/p * W/p, D) after the final LayerNorm; (B, 1, D) of
            the class tokens.
        """
        return self.finish(self.embed(x), self.grid(x, frames), want)

    def grid(self, x: torch.Tensor, frames: int = 1) -> Grid:
        """How the tokens of images (B, 3, H, W) lie."""
        return Grid(frames, x.shape[-2] // self.patch_size, x.shape[-1] // self.patch_size)

    def finish(
        self, x: torch.Tensor, grid: Grid | None, want: Want = "all", start: int = 0
    ) -> torch.Tensor:
        """The layers from number ``start`` on and the final LayerNorm; see :meth:`tokens`."""
        added = AddedTokens()
        for index in range(start, self.num_layers):
            layer = self.layers[index]
            x, _ = added.enter(layer.at.tokens, x)
            first = index == self.num_layers - 1 and layer.at.local()
            x = run_layer(self, layer, x, added.grid(grid), want if first else "all")
        return self.ln1(x[:, :1] if want == "first" else added.drop(x))
