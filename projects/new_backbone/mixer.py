"""A new backbone in one file: the tutorial's, see docs/tutorials.md."""

from __future__ import annotations

from torch import nn

from uniadapter.models.sites import LayerSites
from uniadapter.registry import MODELS


class Layer(nn.Module):
    """A norm and a linear, with two sites."""

    def __init__(self, width):
        super().__init__()
        self.norm, self.fc = nn.LayerNorm(width), nn.Linear(width, width)
        self.at = LayerSites.of(width, "ffn", "after_self")

    def forward(self, x):
        """Run the layer on tokens (B, L, width)."""
        given = self.norm(x)
        out = self.fc(given)
        # What a term is added to, then what the site shows: output, input.
        y = x + self.at.ffn.add(out, out, given)
        return self.at.after_self.add(y, x)


@MODELS.register_module()
class Mixer(nn.Module):
    """Patches, layers, the mean: what an OpenMMLab head expects, a tuple."""

    def __init__(self, width=16, depth=2):
        super().__init__()
        self.embed = nn.Conv2d(3, width, 8, 8)
        self.layers = nn.ModuleList(Layer(width) for _ in range(depth))

    def sites(self):
        """The sites of the layers by number."""
        return [(index, layer.at) for index, layer in enumerate(self.layers)]

    def forward(self, x):
        """One vector of images (B, 3, H, W) each."""
        x = self.embed(x).flatten(2).transpose(1, 2)
        for layer in self.layers:
            x = layer(x)
        return (x.mean(1),)
