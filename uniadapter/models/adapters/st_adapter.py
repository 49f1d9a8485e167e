"""ST-Adapter (Pan et al. 2022): bottlenecks that look along time, in the visual tower."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import nn

from uniadapter.registry import MODELS

from ..sites import Grid, Places
from .base import Adapter, check_choice, check_int, parse_layers
from .bottleneck import ACTIVATIONS, Bottleneck


class SpaceTimeBottleneck(nn.Module):
    """``fc2(act(conv(fc1(x))))`` of patches, where the convolution is depth-wise in 3-D.

    fc1 and fc2 have torch's own initial weights and zero biases; the convolution's are all zero,
    so that step 0 is the frozen model bit for bit.

    Args:
        width (int): Width d.
        bottleneck (int): Width r.
        kernel (tuple[int, int, int]): Size over frames, rows and columns, all odd.
        activation (str): A name of :data:`~.bottleneck.ACTIVATIONS`.
    """

    def __init__(
        self, width: int, bottleneck: int, kernel: tuple[int, int, int], activation: str
    ) -> None:
        super().__init__()
        frames, rows, columns = kernel
        padding = (frames // 2, rows // 2, columns // 2)
        self.fc1 = nn.Linear(width, bottleneck)
        self.conv = nn.Conv3d(bottleneck, bottleneck, kernel, padding=padding, groups=bottleneck)
        self.fc2 = nn.Linear(bottleneck, width)
        self.activation = activation
        nn.init.zeros_(self.conv.weight)
        for module in (self.fc1, self.conv, self.fc2):
            nn.init.zeros_(cast(torch.Tensor, module.bias))

    def forward(self, x: torch.Tensor, grid: Grid) -> torch.Tensor:
        """The term of tokens.

        Args:
            x (Tensor): (B * N, M, d), N frames of a video one after another.
            grid (Grid): How they lie.

        Returns:
            Tensor: (B * N, M, d), zero at the tokens in front of the patches.
        """
        size = (grid.frames, grid.height, grid.width)
        hidden = self.fc1(x[:, grid.first :])
        # (B * N, h * w, r) as the volume (B, r, N, h, w), and back.
        # Contiguous: of another layout the CPU's depth-wise convolution in bfloat16 leaves weight
        # gradients unwritten, which are then whatever the memory held.
        volume = hidden.reshape(-1, *size, hidden.shape[-1]).movedim(-1, 1).contiguous()
        volume = self.conv(volume).movedim(1, -1)
        term = self.fc2(ACTIVATIONS[self.activation](volume).reshape(hidden.shape))
        return torch.cat((torch.zeros_like(x[:, : grid.first]), term), dim=1)


@MODELS.register_module()
class STAdapter(Adapter):
    """Space-time bottlenecks in the visual tower, parallel ones in the others.

    The UniAdapter paper's row of this name (table 4) has parallel adapters in the text and the
    multimodal encoder. A tower that tells no frames (one that is hosted by a chart) is refused.

    Args:
        places (Places): The model's sites.
        bottleneck (int): Width r, of all. Defaults to 384, the original's.
        sites (list[str]): ``'into'`` (before attention) and ``'mid'`` (before the feed-forward
            network), one or both. Defaults to both, as the original on Something-Something.
        kernel (tuple[int, int, int]): Over frames, rows and columns. Defaults to (3, 1, 1).
        activation (str): Behind the convolution: ``'none'``, as in the released code, or another
            name of :data:`~.bottleneck.ACTIVATIONS` (the paper's formula has one).
        scale (float): Factor of the parallel terms. Defaults to 1.
        layers (list[int] | str, optional): Adapted layers, counted from 1. Defaults to None, all.

    Raises:
        ValueError: If an option is outside its set, or the visual tower tells no frames.
    """

    def __init__(
        self,
        places: Places,
        bottleneck: int = 384,
        sites: Iterable[str] = ("into", "mid"),
        kernel: Iterable[int] = (3, 1, 1),
        activation: str = "none",
        scale: float = 1.0,
        layers: Iterable[int] | str | None = None,
    ) -> None:
        options: dict[str, Any] = {
            "bottleneck": bottleneck,
            "sites": list(sites),
            "kernel": list(kernel),
            "activation": activation,
            "scale": scale,
            "layers": layers if layers is None or isinstance(layers, str) else list(layers),
        }
        super().__init__(places, options)
        self._check()
        self.depth = 1 + max(places.need("visual.mid", "STAdapter"))
        numbers = parse_layers(layers, self.depth, "adapter.layers")
        groups: dict[int, Any] = {index: nn.ModuleDict() for index in numbers}
        self.layers = nn.ModuleDict({str(index): group for index, group in groups.items()})
        for site in options["sites"]:
            slots = places.need(f"visual.{site}", "STAdapter")
            for index in numbers:
                unit = SpaceTimeBottleneck(
                    slots[index].dim, bottleneck, tuple(options["kernel"]), activation
                )
                groups[index][f"visual_{site}"] = unit
                slots[index].fill(unit, local=False, grid=True)
        for role in (role for role in places.roles() if role != "visual"):
            for index, slot in places.of(f"{role}.ffn").items():
                if index in numbers:
                    parallel = Bottleneck(slot.dim, bottleneck, scale=scale)
                    groups[index][f"{role}_ffn"] = parallel
                    slot.fill(parallel, reads="input")

    def _check(self) -> None:
        options = self.options
        for site in options["sites"]:
            check_choice(site, ("into", "mid"), "adapter.sites")
        if not options["sites"] or len(set(options["sites"])) != len(options["sites"]):
            raise ValueError(f"adapter.sites={options['sites']}: name one or two, each once.")
        kernel = options["kernel"]
        if len(kernel) != 3 or any(size < 1 or size % 2 == 0 for size in kernel):
            raise ValueError(f"adapter.kernel={kernel} must be three odd numbers.")
        check_choice(options["activation"], ACTIVATIONS, "adapter.activation")
        check_int(options["bottleneck"], 1, "adapter.bottleneck")

    def components(self) -> dict[str, list[nn.Parameter]]:
        """Parameters of the visual tower's units (``adapter``) and of the others (``parallel``)."""
        found: dict[str, list[nn.Parameter]] = {"adapter": [], "parallel": []}
        for name, parameter in self.named_parameters():
            found["adapter" if ".visual_" in name else "parallel"].append(parameter)
        return found if found["parallel"] else {"adapter": found["adapter"]}
