"""A new method in one file: the tutorial's, see docs/tutorials.md."""

from __future__ import annotations

from torch import nn
from torch.nn import functional as F

from uniadapter.models import Adapter
from uniadapter.registry import MODELS


class Bottleneck(nn.Module):
    """Down, a rectifier, up."""

    def __init__(self, width, rank):
        super().__init__()
        self.down, self.up = nn.Linear(width, rank), nn.Linear(rank, width)
        nn.init.zeros_(self.up.weight)  # step 0 is the frozen model
        nn.init.zeros_(self.up.bias)

    def forward(self, x):
        """The term of states (..., width)."""
        return self.up(F.relu(self.down(x)))


@MODELS.register_module()
class TwoTerms(Adapter):
    """A sequential term behind attention and a parallel one beside the feed-forward network."""

    def __init__(self, places, rank=8):
        # The options are saved beside the weights and compared when they are loaded.
        super().__init__(places, {"rank": rank})
        self.layers = nn.ModuleList()
        attention, network = (places.need(f"visual.{site}", "TwoTerms") for site in ("attn", "ffn"))
        for index in attention:
            terms = nn.ModuleDict(
                {
                    "attn": Bottleneck(attention[index].dim, rank),
                    "ffn": Bottleneck(network[index].dim, rank),
                }
            )
            attention[index].fill(terms["attn"])
            network[index].fill(terms["ffn"], reads="input")
            self.layers.append(terms)
