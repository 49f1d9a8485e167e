"""torchvision's residual networks, ResNeXt among them, as visual towers."""

from __future__ import annotations

from typing import Any

import torch

from uniadapter.registry import MODELS

from .conv import ConvTower

# Stages, weights and the names of tensors are torchvision's.
ARCHS = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "wide_resnet50_2",
    "wide_resnet101_2",
)
_BLOCKS = {"basic": "BasicBlock", "bottleneck": "Bottleneck"}


@MODELS.register_module()
class ResNetVisual(ConvTower):
    """A residual network of torchvision without its classifier, under torchvision's names.

    Files of torchvision's and those that have its names (ResNeXt-101 WSL, trained on Instagram's
    pictures) are read by ``convert_checkpoint.py --from torchvision``.

    Args:
        arch (str | dict): A name of torchvision's such as ``'resnext101_32x8d'``; or a dict with
            ``block`` (``'basic'`` or ``'bottleneck'``) and ``layers``, blocks in each of the four
            stages, and torchvision's options ``groups`` and ``width_per_group``.
        norm_eval (bool): Batch norms keep their statistics in training. Defaults to True.
        grad_checkpointing (bool): Recompute each stage in the backward pass. Defaults to False.

    Raises:
        ValueError: If the architecture is unknown, or a dict has other keys.
    """

    stages = ("layer1", "layer2", "layer3", "layer4")

    def __init__(
        self,
        arch: str | dict[str, Any] = "resnext101_32x8d",
        norm_eval: bool = True,
        grad_checkpointing: bool = False,
    ) -> None:
        super().__init__(norm_eval, grad_checkpointing)
        for name, module in _network(arch).named_children():
            if name not in ("avgpool", "fc"):
                self.add_module(name, module)
        self.finish()

    def stem(self, x: torch.Tensor) -> torch.Tensor:
        """Convolution, norm and pooling: (B, 64, H / 4, W / 4) of images (B, 3, H, W)."""
        x = self.get_submodule("relu")(self.get_submodule("bn1")(self.get_submodule("conv1")(x)))
        pooled: torch.Tensor = self.get_submodule("maxpool")(x)
        return pooled


def _network(arch: str | dict[str, Any]) -> Any:
    """A network of torchvision with random weights."""
    # Imported when the first tower is built: it takes seconds.
    from torchvision.models import resnet

    if isinstance(arch, str):
        if arch not in ARCHS:
            raise ValueError(f"model.visual.arch={arch!r} is unknown: choose from {list(ARCHS)}.")
        return getattr(resnet, arch)(weights=None)
    options = {key: value for key, value in arch.items() if key != "_delete_"}
    # No others: torchvision's num_classes, say, is of the classifier, which is not built.
    known = {"block", "layers", "groups", "width_per_group"}
    if options.get("block") not in _BLOCKS or "layers" not in options or set(options) - known:
        raise ValueError(
            f"model.visual.arch={arch!r} must be a name of {list(ARCHS)} or a dict with block, one "
            f"of {list(_BLOCKS)}, layers and perhaps groups and width_per_group."
        )
    layers = list(options["layers"])
    if len(layers) != 4 or any(not isinstance(n, int) or n < 1 for n in layers):
        raise ValueError(f"model.visual.arch.layers={layers} must be four numbers of blocks.")
    block = getattr(resnet, _BLOCKS[options["block"]])
    rest = {key: value for key, value in options.items() if key not in ("block", "layers")}
    return resnet.ResNet(block, layers, **rest)
