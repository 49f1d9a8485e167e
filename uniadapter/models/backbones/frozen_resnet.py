"""DETR's convolution network: torchvision's ResNet with batch norms that never change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.ops import FrozenBatchNorm2d

from uniadapter.registry import MODELS

from ..sites import LayerSites
from .base import run_layer
from .charts import Chart, Place
from .hosted import HostedTower

BLOCKS: dict[str, Any] = {"basic": BasicBlock, "bottleneck": Bottleneck}


@MODELS.register_module()
class FrozenResNet(ResNet):
    """The last stage of a ResNet, whose norms are constants (``FrozenBatchNorm2d``).

    Names of parameters and buffers are torchvision's; there is no classifier.

    Args:
        depths (Sequence[int]): Blocks of each stage; fewer than four stages end earlier, at a
            finer grid. Defaults to (3, 4, 23, 3), ResNet-101.
        block (str): ``'bottleneck'`` or ``'basic'``. Defaults to ``'bottleneck'``.
        width (int): Channels behind the stem, doubled in every stage after the first. Defaults to
            64.
        fixed_stages (int): Stages that are never trained, the stem with the first of them, as in
            DETR. Defaults to 1; 0 trains the stem as well.
        grad_checkpointing (bool): Recompute each stage in the backward pass. Defaults to False.

    Attributes:
        embed_dims (int): Channels of the last stage.
        stride (int): Pixels of a cell of its grid.

    Raises:
        ValueError: If an option is outside its set.
    """

    roles = ("visual",)

    def __init__(
        self,
        depths: Sequence[int] = (3, 4, 23, 3),
        block: str = "bottleneck",
        width: int = 64,
        fixed_stages: int = 1,
        grad_checkpointing: bool = False,
    ) -> None:
        if block not in BLOCKS:
            raise ValueError(f"visual.block={block!r} is unknown: choose from {list(BLOCKS)}.")
        if not 1 <= len(depths) <= 4 or any(depth < 1 for depth in depths) or width < 1:
            raise ValueError(
                f"visual.depths={list(depths)}, visual.width={width}: name 1 to 4 stages of at "
                "least one block and one channel."
            )
        if not 0 <= fixed_stages <= len(depths):
            raise ValueError(
                f"visual.fixed_stages={fixed_stages} must be from 0 to the {len(depths)} there are."
            )
        kind = BLOCKS[block]
        # One block a stage here: the stages are made below, of any number and width.
        super().__init__(kind, [1, 1, 1, 1], norm_layer=FrozenBatchNorm2d)
        del self.fc, self.avgpool
        if width != 64:
            self.conv1 = nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)
            self.bn1 = FrozenBatchNorm2d(width)
        self.inplanes = width
        for number in range(1, 5):
            delattr(self, f"layer{number}")
        for number, depth in enumerate(depths):
            stage = self._make_layer(kind, width << number, depth, stride=1 if number == 0 else 2)
            setattr(self, f"layer{number + 1}", stage)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
        self.names = tuple(f"layer{number + 1}" for number in range(len(depths)))
        self.num_layers, self.fixed_stages = len(depths), fixed_stages
        self.embed_dims = (width << (len(depths) - 1)) * kind.expansion
        self.stride = 2 << len(depths)
        self.grad_checkpointing = grad_checkpointing
        sites = {"after_self": Place("")}
        self._tower = HostedTower(self, Chart(self.names, sites, channels_first=True))

    def fixed(self) -> list[nn.Parameter]:
        """Parameters that are never trained."""
        if not self.fixed_stages:
            return []
        stages = [getattr(self, name) for name in self.names[: self.fixed_stages]]
        return [p for part in (self.conv1, *stages) for p in part.parameters()]

    def sites(self, role: str | None = None) -> list[tuple[int, LayerSites]]:
        """A site behind every stage."""
        return self._tower.sites()

    def role_layers(self, role: str) -> list[nn.Module]:
        """The stages."""
        return self._tower.layers

    def local(self, role: str) -> bool:
        """No state of a grid is known from that cell alone."""
        return False

    def init_weights(self) -> None:
        """Keep the weights as they are: construction has initialised them."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The map behind the last stage.

        Args:
            x (Tensor): Images (B, 3, H, W), normalised.

        Returns:
            Tensor: (B, C, H / stride, W / stride), sizes rounded up.
        """
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for name in self.names:
            x = run_layer(self, getattr(self, name), x)
        return x
