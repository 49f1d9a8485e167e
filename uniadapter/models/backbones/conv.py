"""Convolution networks as visual towers: their stages are the layers, their maps the states."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..execution import Want
from ..sites import LayerSites
from .base import run_layer
from .charts import Chart, Place
from .hosted import HostedTower
from .side_by_side import VisualSide


class ConvTower(VisualSide):
    """A convolution network without its classifier; a stage is a layer.

    What a stage leaves is a map (B, C, H, W), each with a width of its own; the tokens of an image
    are the cells of the last map, row by row. There is no token that stands for the image, so that
    a task has to pool them (:class:`~uniadapter.models.tasks.vse.VseModel`).

    Another network is one file: a registered subclass that registers the network's modules under
    the names that its files of weights have, says by name which of them are the stages, and
    computes what comes before the first one::

        @MODELS.register_module()
        class MyVisual(ConvTower):
            stages = ("blocks.0", "blocks.1", "blocks.2")      # or several modules in nn.Sequential

            def __init__(self, norm_eval: bool = True, grad_checkpointing: bool = False) -> None:
                super().__init__(norm_eval, grad_checkpointing)
                self.conv, self.blocks = ...
                self.finish()                                   # last: looks the stages up

            def stem(self, x: torch.Tensor) -> torch.Tensor:
                return self.conv(x)

    A stage takes the map of the one before. Its width is read off its last convolution or norm.
    Sites (``after_self`` behind every stage), taps, recomputation and frozen batch norms are then
    there; a method that reads maps (UniPT) needs the size of every stage to be a multiple of the
    last one's.

    Args:
        norm_eval (bool): Batch norms keep their statistics in training, whether or not the tower is
            trained. Defaults to True.
        grad_checkpointing (bool): Recompute each stage in the backward pass. Defaults to False.
    """

    #: What stages leave behind are maps (B, C, H, W), not tokens (B, L, D).
    maps = True
    #: No token stands for the whole image.
    class_token = False
    #: Names of the stages' modules in their order.
    stages: tuple[str, ...]

    embed_dims: int
    num_layers: int

    def __init__(self, norm_eval: bool = True, grad_checkpointing: bool = False) -> None:
        super().__init__()
        self.norm_eval = norm_eval
        self.grad_checkpointing = grad_checkpointing

    def finish(self) -> None:
        """Look the stages up; the last call of a constructor."""
        chart = Chart(self.stages, {"after_self": Place("")}, channels_first=True)
        self._tower = HostedTower(self, chart)
        self.num_layers = len(self.stages)
        self.embed_dims = self.layer_sites()[-1][1].after_self.dim

    @property
    def grad_checkpointing(self) -> bool:
        """Whether each stage is recomputed in the backward pass."""
        return self._checkpoints

    @grad_checkpointing.setter
    def grad_checkpointing(self, value: bool) -> None:
        if value and not self.norm_eval:
            raise ValueError(
                "grad_checkpointing=True runs every stage twice, so that batch norms would count "
                "each batch twice: set model.visual.norm_eval=True."
            )
        self._checkpoints = value

    @property
    def layers(self) -> list[nn.Module]:  # type: ignore[override]
        """The stages."""
        return self._tower.layers

    def layer_sites(self) -> list[tuple[int, LayerSites]]:
        """Sites of the stages with their numbers from 0."""
        return self._tower.sites()

    def train(self, mode: bool = True) -> ConvTower:
        """Set the mode; batch norms stay in evaluation with ``norm_eval``."""
        super().train(mode)
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def stem(self, x: torch.Tensor) -> torch.Tensor:
        """What the first stage reads of images (B, 3, H, W); a subclass computes it."""
        raise NotImplementedError

    def tokens(self, x: torch.Tensor, want: Want = "all", frames: int = 1) -> torch.Tensor:
        """Encode images.

        Args:
            x (Tensor): Images (B, 3, H, W), normalised, of any size.
            want (str): ``'all'``: there is no first token that stands for an image.
            frames (int): Plays no part: images are encoded one by one. Defaults to 1.

        Returns:
            Tensor: The cells of the last map, row by row, (B, H' * W', D).

        Raises:
            ValueError: If the first token alone is wanted.
        """
        if want == "first":
            raise ValueError(
                f"{type(self).__name__} has no token that stands for an image: use "
                "model.type='VseModel', which pools what it has."
            )
        x = self.stem(x)
        for stage in self.layers:
            x = run_layer(self, stage, x)
        return x.flatten(2).transpose(1, 2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        """Means (B, D) of the last map of images (B, 3, H, W), as classifiers read them."""
        return (self.tokens(x).mean(1),)

    def check_size(self, x: Any) -> None:
        """Nothing: a convolution network takes images of any size."""
