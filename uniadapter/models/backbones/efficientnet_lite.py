"""EfficientNet-Lite: a tower of convolution blocks with sites (Liu 2020, tensorflow/tpu).

Inside a layer maps have their channels last, (B, H, W, C), so that a convolution of 1 x 1 is an
``nn.Linear`` and a site sees features (..., C), as in every other tower.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from uniadapter.registry import MODELS

from ..execution import Want
from ..sites import LayerSites, Slot, Use
from .base import run_layer
from .side_by_side import VisualSide

#: Groups of blocks: how many, kernel, stride of the first, expansion, channels behind them.
_LITE0 = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
ARCHS: dict[str, dict[str, Any]] = {"lite0": {"stem": 32, "groups": _LITE0, "head": 1280}}
_EPS = 1e-3


class OutputSlot(Slot):
    """A slot of a layer whose input has another width than its output, which alone can be read."""

    def fill(
        self,
        use: Use,
        name: str = "default",
        reads: str = "output",
        local: bool = True,
        grid: bool = False,
    ) -> None:
        """As :meth:`Slot.fill`.

        Raises:
            ValueError: Also if the use wants the sub-layer's input, or to know how tokens lie.
        """
        if reads == "input" or grid:
            raise ValueError(
                "A block of convolutions shows its output alone: an adapter that is parallel to a "
                "sub-layer (reads='input'), or needs the grid of patches, has no place in it. Name "
                "other adapter.roles, or a sequential one (preset='houlsby' or 'pfeiffer')."
            )
        super().fill(use, name, reads, local, grid)


class MapNorm(nn.Module):
    """Batch norm of maps with channels last by its running statistics, which nothing changes.

    Args:
        channels (int): Channels C.
    """

    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise maps (B, H, W, C)."""
        # One multiplication and one addition a value, several times faster than batch_norm where
        # channels come last.
        scale = self.weight * torch.rsqrt(self.running_var + _EPS)
        shift = self.bias - self.running_mean * scale
        return torch.addcmul(shift.to(x.dtype), x, scale.to(x.dtype))


class SameConv(nn.Conv2d):
    """Convolution of maps with channels last, padded as TensorFlow's ``SAME``.

    The output has ceil(side / stride) rows; where the padding is odd, right and bottom get more.

    Args:
        in_channels (int): Channels.
        out_channels (int): Channels of the output.
        kernel (int): Side of the kernel.
        stride (int): Stride.
        depthwise (bool): Whether each channel has a kernel of its own. Defaults to False.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int, depthwise: bool = False
    ) -> None:
        groups = in_channels if depthwise else 1
        super().__init__(in_channels, out_channels, kernel, stride, groups=groups, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, H, W, C) as (B, ceil(H / stride), ceil(W / stride), C')."""
        stride, kernel = self.stride[0], self.kernel_size[0]
        rows, columns = (
            max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[1:3]
        )
        x = _first(x)
        if rows % 2 or columns % 2:
            x = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
            rows = columns = 0
        padding = (rows // 2, columns // 2)
        return _last(F.conv2d(x, self.weight, None, stride, padding, 1, self.groups))


class LiteBlock(nn.Module):
    """An inverted residual: expand (1 x 1), filter each channel, project (1 x 1).

    ``x + project(...)`` where the output is of the input's size, else the projection alone.

    Args:
        in_width (int): Channels of the input.
        width (int): Channels of the output.
        expansion (int): Times as many channels inside; 1 has no expansion.
        kernel (int): Side of the kernel.
        stride (int): Stride.
    """

    def __init__(self, in_width: int, width: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        inner = in_width * expansion
        self.expand: nn.Linear | None = None
        self.expand_norm: MapNorm | None = None
        if expansion > 1:
            self.expand, self.expand_norm = nn.Linear(in_width, inner, bias=False), MapNorm(inner)
        self.depthwise = SameConv(inner, inner, kernel, stride, depthwise=True)
        self.depthwise_norm = MapNorm(inner)
        self.project, self.project_norm = nn.Linear(inner, width, bias=False), MapNorm(width)
        self.residual = stride == 1 and in_width == width
        self.at = _sites(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, C, H, W) as (B, C', H', W')."""
        inner = x = _last(x)
        if self.expand is not None and self.expand_norm is not None:
            inner = F.relu6(self.expand_norm(self.expand(x)))
        inner = F.relu6(self.depthwise_norm(self.depthwise(inner)))
        out = self.project_norm(self.project(inner))
        out = self.at.ffn.add(out, out)
        out = x + out if self.residual else out
        out = self.at.after_self.add(out, out)
        return _first(self.at.out.add(out, out))


class LiteHead(nn.Module):
    """The last layer: a convolution of 1 x 1.

    Args:
        in_width (int): Channels of the input.
        width (int): Channels of the output.
    """

    expand: None = None

    def __init__(self, in_width: int, width: int) -> None:
        super().__init__()
        self.project, self.project_norm = nn.Linear(in_width, width, bias=False), MapNorm(width)
        self.at = _sites(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, C, H, W) as (B, C', H, W)."""
        out = self.project_norm(self.project(_last(x)))
        out = F.relu6(self.at.ffn.add(out, out))
        out = self.at.after_self.add(out, out)
        return _first(self.at.out.add(out, out))


def _first(x: torch.Tensor) -> torch.Tensor:
    """Maps (B, H, W, C) as (B, C, H, W); a view."""
    return x.permute(0, 3, 1, 2)


def _last(x: torch.Tensor) -> torch.Tensor:
    """Maps (B, C, H, W) as (B, H, W, C); a view."""
    return x.permute(0, 2, 3, 1)


def _sites(width: int) -> LayerSites:
    return LayerSites({name: OutputSlot(width) for name in ("ffn", "after_self", "out")})


@MODELS.register_module()
class EfficientNetLite(VisualSide):
    """EfficientNet-Lite as a tower: ReLU6, no squeeze-and-excitation, batch norms with eps 1e-3.

    Batch norms always use their running statistics, in training too: batches of a fine-tuning are
    small. A layer is a block, the last one the convolution behind them; its sites are ``ffn`` (the
    projection's output, before the residual), ``after_self`` and ``out`` (both the layer's output),
    its matrices ``fc1`` and ``fc2``, the convolutions of 1 x 1 (the first block and the last layer
    have ``fc2`` alone). There is no attention, so no other site. What a layer gives is a map (B, C,
    H, W).

    What stands for an image is the mean of the last map; behind it come the map's places.

    Args:
        arch (str | dict): ``'lite0'``, or a dict with ``stem`` and ``head``, channels of the first
            and last convolution, and ``groups`` of blocks, each (how many, kernel, stride of the
            first, expansion, channels). Defaults to ``'lite0'``.
        img_size (int): Side of the square input in pixels. Defaults to 224.
        num_classes (int): Classes of the frozen classifier, whose probabilities stand behind the
            features of every token, 1000 of ImageNet. Defaults to 0: no classifier.
        grad_checkpointing (bool): Recompute each block in the backward pass. Defaults to False.

    Raises:
        ValueError: If ``arch`` is unknown or incomplete, or a number is out of its range.
    """

    #: What layers leave behind are maps (B, C, H, W), not tokens (B, L, D).
    maps = True

    def __init__(
        self,
        arch: str | Mapping[str, Any] = "lite0",
        img_size: int = 224,
        num_classes: int = 0,
        grad_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if img_size < 1 or num_classes < 0:
            raise ValueError(
                f"visual.img_size={img_size} must be at least 1 and visual.num_classes="
                f"{num_classes} at least 0."
            )
        sizes = _sizes(arch)
        stem, head, self.groups = sizes["stem"], sizes["head"], sizes["groups"]
        self.img_size = img_size
        self.grad_checkpointing = grad_checkpointing
        self.stem, self.stem_norm = SameConv(3, stem, 3, 2), MapNorm(stem)
        blocks, width = [], stem
        for count, kernel, stride, expansion, channels in self.groups:
            for index in range(count):
                first = stride if index == 0 else 1
                blocks.append(LiteBlock(width, channels, expansion, kernel, first))
                width = channels
        self.blocks: Any = nn.ModuleList(blocks)
        self.head = LiteHead(width, head)
        self.num_layers = len(blocks) + 1
        self.classifier = nn.Linear(head, num_classes) if num_classes else None
        self.features = head
        self.embed_dims: int = head + num_classes
        self._init_random()

    def _init_random(self) -> None:
        for module in self.modules():
            if isinstance(module, SameConv):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    @property
    def layers(self) -> nn.ModuleList:  # type: ignore[override]
        """The blocks and the convolution behind them."""
        return nn.ModuleList([*self.blocks, self.head])

    def layer_sites(self) -> list[tuple[int, LayerSites]]:
        """Sites of the layers with their numbers from 0."""
        return [(index, layer.at) for index, layer in enumerate((*self.blocks, self.head))]

    def lower(self, x: torch.Tensor, layers: int = 0) -> torch.Tensor:
        """The stem and the first layers.

        Args:
            x (Tensor): Images (B, 3, H, W), normalised.
            layers (int): How many layers. Defaults to 0: the stem alone.

        Returns:
            Tensor: (B, C, H', W').

        Raises:
            ValueError: If the images are of another size.
        """
        self.check_size(x)
        # In memory channels come last, and so they do in all that follows.
        x = _last(x).contiguous()
        x = _first(F.relu6(self.stem_norm(self.stem(x))))
        for layer in self.layers[:layers]:
            x = run_layer(self, layer, x)
        return x

    def finish(self, x: torch.Tensor, want: Want = "all", layers: int = 0) -> torch.Tensor:
        """What follows :meth:`lower`.

        Args:
            x (Tensor): (B, C, H', W'), the output of the first ``layers``.
            want (str): See :meth:`tokens`.
            layers (int): How many have run. Defaults to 0.

        Returns:
            Tensor: See :meth:`tokens`.
        """
        for layer in self.layers[layers:]:
            x = run_layer(self, layer, x)
        x = x.flatten(2).transpose(1, 2)
        pooled = x.mean(1, keepdim=True)
        x = pooled if want == "first" else torch.cat((pooled, x), 1)
        if self.classifier is None:
            return x
        return torch.cat((x, self.classifier(x).softmax(-1)), -1)

    def tokens(self, x: torch.Tensor, want: Want = "all", frames: int = 1) -> torch.Tensor:
        """Encode images.

        Args:
            x (Tensor): Images (B, 3, H, W), normalised: (x - 127) / 128 of 0..255.
            want (str): ``'all'`` tokens, or the ``'first'``, their mean. Defaults to ``'all'``.
            frames (int): How many images, one after another, are a video; plays no part. Defaults
                to 1.

        Returns:
            Tensor: (B, 1 + H/32 * W/32, D), the mean first, then the last map row by row; (B, 1,
            D) of the means. Where there is a classifier its probabilities stand behind the
            features of each.

        Raises:
            ValueError: If the images are of another size.
        """
        return self.finish(self.lower(x), want)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, num_classes) of images (B, 3, H, W).

        Raises:
            ValueError: If there is no classifier, or the images are of another size.
        """
        if self.classifier is None:
            raise ValueError("This tower has no classifier: set visual.num_classes=1000.")
        return self.classifier(self.finish(self.lower(x), "first")[:, 0, : self.features])


def _sizes(arch: str | Mapping[str, Any]) -> dict[str, Any]:
    """Widths of an architecture.

    Raises:
        ValueError: If it is unknown or incomplete.
    """
    if isinstance(arch, str):
        if arch not in ARCHS:
            raise ValueError(f"visual.arch={arch!r} is unknown: choose from {sorted(ARCHS)}.")
        return ARCHS[arch]
    groups = arch.get("groups") if isinstance(arch, Mapping) else None
    complete = isinstance(arch, Mapping) and set(arch) == {"stem", "head", "groups"}
    if not complete or not groups or not all(_is_group(group) for group in groups):
        raise ValueError(
            f"visual.arch={arch!r} must be a name or a dict with stem, head and groups, each (how "
            "many blocks, kernel, stride, expansion, channels) of ints from 1."
        )
    return {**arch, "groups": tuple(tuple(group) for group in groups)}


def _is_group(group: Any) -> bool:
    whole = isinstance(group, Sequence) and len(group) == 5
    return whole and all(isinstance(n, int) and n > 0 for n in group)
