"""One BERT over a text and a grid of features in a row: CLIP-ViL's joint stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from uniadapter.registry import MODELS

from ..execution import Execution, Factor, PairMemory, Want, Words, visible
from ..sites import LayerSites
from ..taps import Recorder, Taps, first_tensor
from .base import Begun, check_states, run_layer
from .bert.embeddings import check_length
from .hosted import HostedTower
from .libraries import of_transformers
from .side_by_side import SideTower, check_heads

# What BERT's codes add to the similarities of padded tokens.
_PADDED = -10000.0


class StreamMemory(PairMemory):
    """A grid that stands in the stream behind the texts, rather than being read across."""

    def joined(self, mask: torch.Tensor | None) -> torch.Tensor | None:
        """As :meth:`seen`; None where nobody said what is padding."""
        return None if mask is None else self.seen(mask)

    def seen(self, mask: torch.Tensor) -> torch.Tensor:
        """The mask of texts (P, L) and of the grids behind them, (P, L + S) bool."""
        behind = self.mask
        if behind is None:
            behind = torch.ones(self.states.shape[:2], dtype=torch.bool, device=mask.device)
        return torch.cat((visible(mask), behind.expand(len(mask), -1)), 1)


@dataclass(frozen=True)
class StreamOptions:
    """What a config may say of a :class:`BertStream`.

    Args:
        vocab_size (int): Words. Defaults to 30522, of bert-base-uncased.
        hidden_size (int): Width D. Defaults to 768.
        num_layers (int): Layers. Defaults to 12.
        num_heads (int): Attention heads. Defaults to 12.
        intermediate_size (int): Inner width of the feed-forward networks. Defaults to 3072.
        grid_width (int): Width of the grid's features. Defaults to 2560, of CLIP RN50x4.
        max_positions (int): Longest text in tokens. Defaults to 512.
        dropout (float): Behind embeddings and sub-layers, and behind the grid's norm. Defaults to
            0.1.
        attention_dropout (float): Of attention weights. Defaults to 0.1.
        grad_checkpointing (bool): Recompute each layer in the backward pass. Defaults to False.
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    num_layers: int = 12
    num_heads: int = 12
    intermediate_size: int = 3072
    grid_width: int = 2560
    max_positions: int = 512
    dropout: float = 0.1
    attention_dropout: float = 0.1
    grad_checkpointing: bool = False


@MODELS.register_module()
class BertStream(SideTower):
    """transformers' BERT over the tokens of a text and, behind them, those of a grid.

    The text goes through BERT's embeddings, the grid through a linear layer and a LayerNorm; BERT's
    layers run over both at once. ``VisualBertModel`` and ``inputs_embeds`` of ``BertModel`` are
    something else: they add positions and types to the grid.

    Args:
        **options: Those of :class:`StreamOptions`.

    Raises:
        ImportError: If transformers is not installed.
        ValueError: If the width is no multiple of the attention heads.
    """

    roles: tuple[str, ...] = ("fusion",)
    takes_states = False
    # The model that has the tower gives it its own; the stream runs the plain way in any case.
    execution = Execution()

    Options = StreamOptions

    def __init__(self, **options: Any) -> None:
        super().__init__()
        chosen = StreamOptions(**options)
        check_heads(chosen.hidden_size, chosen.num_heads)
        self.model = _bert(
            vocab_size=chosen.vocab_size,
            hidden_size=chosen.hidden_size,
            num_hidden_layers=chosen.num_layers,
            num_attention_heads=chosen.num_heads,
            intermediate_size=chosen.intermediate_size,
            max_position_embeddings=chosen.max_positions,
            hidden_dropout_prob=chosen.dropout,
            attention_probs_dropout_prob=chosen.attention_dropout,
        )
        self.grid_proj = nn.Linear(chosen.grid_width, chosen.hidden_size)
        self.grid_norm = nn.LayerNorm(chosen.hidden_size, eps=1e-12)
        nn.init.normal_(self.grid_proj.weight, std=0.02)
        nn.init.zeros_(self.grid_proj.bias)
        self.grid_dropout = nn.Dropout(chosen.dropout)
        self.vocab_size, self.hidden_size = chosen.vocab_size, chosen.hidden_size
        self.num_layers, self.encoder_width = chosen.num_layers, chosen.grid_width
        self.max_positions = chosen.max_positions
        self.grad_checkpointing = chosen.grad_checkpointing
        self._hosted = HostedTower(self.model, "BertModel")

    @property
    def layers(self) -> list[nn.Module]:  # type: ignore[override]
        """The layers, which are transformers'."""
        return self._hosted.layers

    def sites(self, role: str | None = None) -> list[tuple[int, LayerSites]]:
        """Sites of the layers with their numbers from 0."""
        return self._hosted.sites()

    def local(self, role: str) -> bool:
        """Whether what fills the sites needs of a token that token alone; nothing is left out."""
        return all(sites.local() for _, sites in self.sites(role))

    def check_length(self, length: int, key: str | None = None) -> None:
        """Refuse texts of more tokens than there are positions; see :func:`check_length`."""
        check_length(length, self.max_positions, key)

    def memory(
        self,
        states: torch.Tensor,
        mask: torch.Tensor | None = None,
        owner: torch.Tensor | None = None,
        factor: Factor | None = None,
    ) -> StreamMemory:
        """Prepare what stands behind the texts; see :class:`.base.Reader`.

        Raises:
            ValueError: If a shape is another one, or frames are weighted.
        """
        check_states(self.encoder_width, states, mask, owner, factor)
        if factor is not None:
            raise ValueError("BertStream has no cross-attention whose keys frame weights scale.")
        if owner is not None:
            states, mask = states[owner], None if mask is None else mask[owner]
        return StreamMemory(states, mask)

    def fuse(
        self,
        words: Words,
        memory: StreamMemory,
        want: Want = "all",
        states: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Run the stream.

        Args:
            words (Words): Texts (P, L), ``[CLS]`` first, and their mask.
            memory (StreamMemory): The grids (P, S, W), or one for all.
            want (str): ``'all'`` tokens, or the ``'first'``. Defaults to ``'all'``.
            states (Tensor, optional): Not used: no role runs before this one.

        Returns:
            Tensor: (P, L + S, D), the text's tokens first; (P, 1, D) of the first ones.

        Raises:
            ValueError: If there are too many tokens, or another number of texts than of grids.
        """
        ids, mask = words
        if mask is None or mask.shape != ids.shape:
            shape = None if mask is None else tuple(mask.shape)
            raise ValueError(
                f"attention_mask {shape} must have the shape of input_ids {tuple(ids.shape)}."
            )
        x = self.embed(ids, memory)
        # (P, 1, 1, L + S), added to the similarities of all heads and queries.
        added = (~memory.seen(mask)[:, None, None]).to(x.dtype) * _PADDED
        for layer in self.layers:
            x = first_tensor(run_layer(self, layer, x, added))
        return x if want == "all" else x[:, :1]

    def embed(self, ids: torch.Tensor, memory: StreamMemory) -> torch.Tensor:
        """What goes into the first layer for texts (P, L), (P, L + S, D)."""
        memory.check(len(ids))
        self.check_length(ids.shape[1])
        grid = self.grid_dropout(self.grid_norm(self.grid_proj(memory.states)))
        text = self.model.embeddings(input_ids=ids)
        return torch.cat((text, grid.expand(len(text), -1, -1)), 1)

    def begin(self, words: Words, states: torch.Tensor | None = None, rows: Any = None) -> Begun:
        """Refuse: no part of the stream runs without its grid.

        Raises:
            ValueError: Always.
        """
        raise ValueError("BertStream has no run without a grid: call fuse().")

    def pool(self, states: torch.Tensor) -> torch.Tensor:
        """BERT's pooler without its tanh, of states (..., D) of the first token."""
        pooled: torch.Tensor = self.model.pooler.dense(states)
        return pooled

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, grid: torch.Tensor
    ) -> torch.Tensor:
        """States (B, L + S, D) of texts (B, L) and their grids (B, S, W)."""
        return self.fuse(Words(input_ids, attention_mask), self.memory(grid))

    def taps(self, *args: Any, **kwargs: Any) -> Taps:
        """The states behind every layer in a run of the tower, without a graph."""
        return Recorder(self.layers)(lambda: self(*args, **kwargs))


def _bert(**sizes: Any) -> Any:
    """The BERT of transformers with random weights.

    Raises:
        ImportError: If transformers is not installed.
    """
    library = of_transformers("The layers of a BertStream")
    return library.BertModel(library.BertConfig(**sizes))
