"""The network that generates a Hyperformer's projections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

#: Types of blocks by the rows of their embeddings.
BLOCKS = ("ffn", "attn", "cross")


class Generated(NamedTuple):
    """A pair of projections of a width d and a bottleneck b.

    Attributes:
        down (Tensor): (b, d).
        down_bias (Tensor): (b,).
        up (Tensor): (d, b).
        up_bias (Tensor): (d,).
    """

    down: torch.Tensor
    down_bias: torch.Tensor
    up: torch.Tensor
    up_bias: torch.Tensor

    def project_down(self, x: torch.Tensor) -> torch.Tensor:
        """(..., d) to (..., b)."""
        return F.linear(x, self.down, self.down_bias)

    def project_up(self, x: torch.Tensor) -> torch.Tensor:
        """(..., b) to (..., d)."""
        return F.linear(x, self.up, self.up_bias)


class Generator(nn.Module):
    """Four linear layers that read an embedding and give a pair of projections.

    Args:
        latent (int): Width p of the embedding.
        width (int): Width d.
        bottleneck (int): Width b.
    """

    def __init__(self, latent: int, width: int, bottleneck: int) -> None:
        super().__init__()
        self.sizes = width, bottleneck
        self.down_weight = nn.Linear(latent, bottleneck * width)
        self.down_bias = nn.Linear(latent, bottleneck)
        self.up_weight = nn.Linear(latent, width * bottleneck)
        self.up_bias = nn.Linear(latent, width)

    def forward(self, z: torch.Tensor) -> Generated:
        """The projections of an embedding (p,)."""
        width, bottleneck = self.sizes
        return Generated(
            self.down_weight(z).view(bottleneck, width),
            self.down_bias(z),
            self.up_weight(z).view(width, bottleneck),
            self.up_bias(z),
        )


class HyperNetwork(nn.Module):
    """``z = LN(W2 relu(W1 [task; layer; block] + c1) + c2)``, and projections of z.

    Args:
        layers (Sequence[int]): Numbers of the layers that it serves.
        blocks (Sequence[str]): Types of blocks, of :data:`BLOCKS`.
        sizes (tuple[int, int]): Width d and bottleneck b.
        embedding (int): Width of the embeddings of tasks, layers and blocks.
        hidden (int): Inner width.
        latent (int): Width p of z.
        unique (bool): A generator for each type of block; else one for all, and an embedding of the
            type joins.
    """

    #: For optimizers: apart from other norms, this one is not decayed in the published runs.
    parameter_kinds: ClassVar[dict[str, str]] = {"norm.weight": "generator_norm"}

    def __init__(
        self,
        layers: Sequence[int],
        blocks: Sequence[str],
        sizes: tuple[int, int],
        embedding: int,
        hidden: int,
        latent: int,
        unique: bool,
    ) -> None:
        super().__init__()
        self.rows = {layer: row for row, layer in enumerate(sorted(layers))}
        self.layers = nn.Embedding(len(self.rows), embedding)
        self.blocks = None if unique else nn.Embedding(len(BLOCKS), embedding)
        self.inner = nn.Linear((2 if unique else 3) * embedding, hidden)
        self.outer = nn.Linear(hidden, latent)
        self.norm = nn.LayerNorm(latent, eps=1e-6)
        self.generators = nn.ModuleDict(
            {name: Generator(latent, *sizes) for name in (blocks if unique else ("shared",))}
        )

    def reset(self, linear_std: float, embedding_std: float) -> None:
        """Draw all weights from normal distributions, biases zero."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=linear_std)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=embedding_std)

    def forward(self, task: torch.Tensor, layer: int, block: str) -> Generated:
        """The projections of a block.

        Args:
            task (Tensor): Embedding of the task, (e,).
            layer (int): Number of the layer.
            block (str): Its type.
        """
        seen = [task, self.layers.weight[self.rows[layer]]]
        if self.blocks is not None:
            seen.append(self.blocks.weight[BLOCKS.index(block)])
        z = self.norm(self.outer(F.relu(self.inner(torch.cat(seen)))))
        generator = self.generators["shared" if self.blocks is not None else block]
        generated: Generated = generator(z)
        return generated
