"""The frozen lower layers of a visual tower, run once without a graph for all who see a picture."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from ..backbones.base import Staged
from ..execution import Want
from .prefix_cache import PrefixCache
from .prefix_identity import embedding_fixed, frozen_layers, frozen_tokens, layer_fixed


class Prefix(NamedTuple):
    """What a visual tower has computed when it meets its first trained term.

    Attributes:
        layer (int): Layers that are run; with a residual, all of the last one but its last site.
        x (Tensor): Tokens (B, M, D).
        residual (Tensor, optional): What the site ``after_self`` of layer ``layer - 1`` sees,
            (B, M, D).
    """

    layer: int
    x: torch.Tensor
    residual: torch.Tensor | None

    @classmethod
    @torch.no_grad()
    def of(cls, tower: Any, images: torch.Tensor, cache: PrefixCache | None) -> Prefix | None:
        """Run what lies below the first trained term, without a graph.

        The result serves the online and the momentum model: nothing in it is trained.

        Args:
            tower (nn.Module): The visual tower.
            images (Tensor): (B, 3, H, W), normalised.
            cache (PrefixCache, optional): Where the tokens of the wholly frozen layers are kept.

        Returns:
            Prefix: None where not even the embedding is frozen, or the tower runs as a whole.
        """
        # Whoever takes the place of a tower's runs knows what of them is frozen.
        if hasattr(tower, "prefix"):
            return tower.prefix(images, cache)
        if not isinstance(tower, Staged):
            return None
        frozen = frozen_layers(tower)
        if cache is not None and not cache.usable(frozen, tower.training):
            cache = None
        if cache is None and not embedding_fixed(tower):
            return None
        if cache is None:
            x = frozen_tokens(tower, images, frozen)
        else:
            x = cache(tower, images, frozen)
        if frozen < tower.num_layers:
            layer = tower.layers[frozen]
            if layer_fixed(layer) and layer.at.filled() == ["after_self"]:
                # All but that site is frozen as well.
                x, residual = layer.body(x, None, "all")
                return cls(frozen + 1, x, residual)
        return cls(frozen, x, None)

    def finish(self, tower: Staged, images: torch.Tensor, want: Want, frames: int) -> torch.Tensor:
        """Tokens, as ``tower.tokens(images, want, frames)`` gives them.

        Args:
            tower (Staged): The tower, or the same one with other trained weights.
            images (Tensor): The images that the prefix is of; only their shape counts.
            want (str): ``'all'`` tokens or the ``'first'``.
            frames (int): How many images are a video.
        """
        x = self.x
        if self.residual is not None:
            x = tower.layers[self.layer - 1].at.after_self.add(x, self.residual)
        return tower.finish(x, tower.grid(images, frames), want, self.layer)
