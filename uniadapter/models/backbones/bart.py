"""BART: transformers' encoder and decoder as they are, with sites by chart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from uniadapter.registry import MODELS

from ..taps import first_tensor
from .bert.embeddings import check_length
from .encoder_decoder import EncoderDecoder, added_mask, sizes_of
from .libraries import of_transformers
from .writer import Ends

#: Published sizes: width, layers of each stack, heads, inner width of the feed-forward networks.
SIZES: dict[str, dict[str, int]] = {
    "base": {"hidden_size": 768, "num_layers": 6, "num_heads": 12, "intermediate_size": 3072},
    "large": {"hidden_size": 1024, "num_layers": 12, "num_heads": 16, "intermediate_size": 4096},
}


@dataclass(frozen=True)
class BartOptions:
    """What a config may say of a :class:`Bart`.

    Args:
        arch (str | dict): ``'base'``, ``'large'``, or a dict with ``hidden_size``, ``num_layers``
            (of each stack), ``num_heads`` and ``intermediate_size``. Defaults to ``'base'``.
        vocab_size (int): Rows of the table. Defaults to 50265.
        max_positions (int): Longest text in tokens. Defaults to 1024.
        dropout (float): Rate everywhere. Defaults to 0.1.
        grad_checkpointing (bool): Recompute each layer in the backward pass. Defaults to False.
        new_words (int): Rows behind the table, normal of standard deviation 0.02. VL-BART has 200.
            Defaults to 0.
        no_repeat (int): No n-gram of this length twice in what is written; 0: any. Defaults to 3,
            of bart-base.
        early_stopping (bool): Stop beams when as many texts have ended as there are beams. Defaults
            to True, of bart-base.
    """

    arch: str | dict[str, int] = "base"
    vocab_size: int = 50265
    max_positions: int = 1024
    dropout: float = 0.1
    grad_checkpointing: bool = False
    new_words: int = 0
    no_repeat: int = 3
    early_stopping: bool = True


@MODELS.register_module()
class Bart(EncoderDecoder):
    """BART, the stacks of transformers' ``BartForConditionalGeneration``.

    What is written begins with ``</s>``, and training makes ``<s>`` follow. Beams end with ``</s>``
    at the greatest length. See :class:`EncoderDecoder`.

    Args:
        **options: Those of :class:`BartOptions`.

    Raises:
        ImportError: If transformers is not installed.
        ValueError: If ``arch`` is unknown or incomplete, its width no multiple of its heads, or
            ``new_words`` below 0.
    """

    Options = BartOptions

    def __init__(self, **options: Any) -> None:
        chosen = BartOptions(**options)
        sizes = sizes_of(chosen.arch, SIZES)
        library = of_transformers("BART's stacks")
        layers = {"layers": sizes["num_layers"], "attention_heads": sizes["num_heads"]}
        layers["ffn_dim"] = sizes["intermediate_size"]
        config = library.BartConfig(
            vocab_size=chosen.vocab_size,
            max_position_embeddings=chosen.max_positions,
            d_model=sizes["hidden_size"],
            dropout=chosen.dropout,
            attention_dropout=chosen.dropout,
            activation_dropout=chosen.dropout,
            **{
                f"{stack}_{key}": n for stack in ("encoder", "decoder") for key, n in layers.items()
            },
        )
        built = library.BartForConditionalGeneration(config)
        ends = Ends(config, 2, 2, 1, True, chosen.no_repeat, chosen.early_stopping)
        stacks, new = (built.model.encoder, built.model.decoder), chosen.new_words
        shared = built.model.shared
        super().__init__(shared, stacks, ends, new, config.init_std, chosen.grad_checkpointing)
        self.max_positions = chosen.max_positions
        # Files have it; no published one holds anything but zeros.
        self.register_buffer("final_logits_bias", torch.zeros(1, self.vocab_size))

    def check_length(self, length: int, key: str | None = None) -> None:
        """Refuse texts of more tokens than there are positions; see :func:`check_length`."""
        check_length(length, self.max_positions, key)

    def words(self, states: torch.Tensor) -> torch.Tensor:
        """Logits (..., V) of states (..., D) of the decoder."""
        bias: Any = self.final_logits_bias
        new = self.num_words - self.vocab_size
        return self.times_table(states) + F.pad(bias[0], (0, new))

    def place(self, x: torch.Tensor) -> torch.Tensor:
        """Add positions, counted from the first token of a text, to embedded texts (B, L, D)."""
        self.check_length(x.shape[1])
        positions: torch.Tensor = self.encoder.embed_positions(x[:, :, 0])
        return x + positions

    def read(self, x: torch.Tensor, behind: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """See :meth:`EncoderDecoder.read`: what is behind does without the embedding's norm."""
        x = torch.cat((self.encoder.layernorm_embedding(x), behind), 1)
        x = F.dropout(x, self.encoder.dropout, self.encoder.training)
        added = added_mask(mask, x.dtype)
        for layer in self.encoder.layers:
            x = first_tensor(layer(x, added))
        return x

    def new_norm(self) -> nn.Module:
        """A LayerNorm of the states' width, as the layers have."""
        return nn.LayerNorm(self.hidden_size)

    def draw(self, module: nn.Module) -> None:
        """Draw matrices and tables of a new part with BART's deviation; biases begin at 0."""
        for part in module.modules():
            if isinstance(part, nn.Linear | nn.Embedding):
                nn.init.normal_(part.weight, std=self.ends.config.init_std)
            if isinstance(part, nn.Linear) and part.bias is not None:
                nn.init.zeros_(part.bias)
