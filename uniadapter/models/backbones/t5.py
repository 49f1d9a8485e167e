"""T5: transformers' encoder and decoder as they are, with sites by chart."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from uniadapter.registry import MODELS

from ..taps import first_tensor
from .encoder_decoder import EncoderDecoder, added_mask, sizes_of
from .libraries import of_transformers
from .writer import Ends

#: Published sizes: width, layers of each stack, heads, inner width of the feed-forward networks.
SIZES: dict[str, dict[str, int]] = {
    "small": {"hidden_size": 512, "num_layers": 6, "num_heads": 8, "intermediate_size": 2048},
    "base": {"hidden_size": 768, "num_layers": 12, "num_heads": 12, "intermediate_size": 3072},
    "large": {"hidden_size": 1024, "num_layers": 24, "num_heads": 16, "intermediate_size": 4096},
}


@MODELS.register_module()
class T5(EncoderDecoder):
    """T5 v1.0, the stacks of transformers' ``T5ForConditionalGeneration``.

    States are multiplied by D ** -0.5 in front of the head's matrix. See :class:`EncoderDecoder`.

    Args:
        arch (str | dict): ``'small'``, ``'base'``, ``'large'``, or a dict with ``hidden_size``,
            ``num_layers`` (of each stack), ``num_heads``, ``intermediate_size`` and, if it is not
            64, ``head_dim``. Defaults to ``'base'``.
        vocab_size (int): Rows of the table; the published one has 28 that no word uses. Defaults to
            32128.
        dropout (float): Rate everywhere. Defaults to 0.1.
        grad_checkpointing (bool): Recompute each layer in the backward pass. Defaults to False.
        new_words (int): Rows behind the table, normal of standard deviation 1. VL-T5 has 72, so
            that 200 words of no text stand behind its 32000 pieces. Defaults to 0.

    Raises:
        ImportError: If transformers is not installed.
        ValueError: If ``arch`` is unknown or incomplete, or ``new_words`` below 0.
    """

    def __init__(
        self,
        arch: str | dict[str, int] = "base",
        vocab_size: int = 32128,
        dropout: float = 0.1,
        grad_checkpointing: bool = False,
        new_words: int = 0,
    ) -> None:
        sizes = sizes_of(arch, SIZES, head_dim=64)
        library = of_transformers("T5's stacks")
        config = library.T5Config(
            vocab_size=vocab_size,
            d_model=sizes["hidden_size"],
            d_kv=sizes["head_dim"],
            d_ff=sizes["intermediate_size"],
            num_layers=sizes["num_layers"],
            num_heads=sizes["num_heads"],
            dropout_rate=dropout,
            decoder_start_token_id=0,
        )
        built = library.T5ForConditionalGeneration(config)
        ends = Ends(config, start=0, eos=1, pad=0)
        stacks = (built.encoder, built.decoder)
        super().__init__(built.shared, stacks, ends, new_words, 1.0, grad_checkpointing)

    def check_length(self, length: int, key: str | None = None) -> None:
        """Any length will do: positions are relative."""

    def words(self, states: torch.Tensor) -> torch.Tensor:
        """Logits (..., V) of states (..., D) of the decoder."""
        return self.times_table(states * self.hidden_size**-0.5)

    def place(self, x: torch.Tensor) -> torch.Tensor:
        """Embedded texts (B, L, D) as they are: attention says where tokens stand."""
        return x

    def read(self, x: torch.Tensor, behind: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """See :meth:`EncoderDecoder.read`: the layers' one bias is 0 for all that is behind."""
        first: Any = self.encoder.block[0].layer[0]
        known, others = x.shape[1], behind.shape[1]
        bias = first.SelfAttention.compute_bias(known, known, device=x.device)
        bias = F.pad(bias, (0, others, 0, others))
        x = self.encoder.dropout(torch.cat((x, behind), 1))
        bias = bias.to(x.dtype) + added_mask(mask, x.dtype)
        for block in self.encoder.block:
            x = first_tensor(block(x, None, bias))
        return self.encoder.dropout(self.encoder.final_layer_norm(x))

    def new_norm(self) -> nn.Module:
        """A root-mean-square norm of the states' width, of the kind that the layers have."""
        norm: Any = self.encoder.final_layer_norm
        return type(norm)(self.hidden_size, eps=norm.variance_epsilon)

    def draw(self, module: nn.Module) -> None:
        """Leave a new part as PyTorch draws it."""
