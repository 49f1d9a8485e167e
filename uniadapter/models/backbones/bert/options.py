"""What of a BERT may be chosen beside its sizes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BertOptions:
    """Options of a :class:`BertModel` that none of its tensors' widths depends on.

    Args:
        max_positions (int): Longest sequence in tokens. Defaults to 512.
        eps (float): LayerNorm epsilon. Defaults to 1e-12.
        dropout (float): Dropout of the hidden states. Defaults to 0.1, as BLIP.
        attention_dropout (float): Dropout of attention probabilities. Defaults to 0.1, as BLIP.
        grad_checkpointing (bool): Recompute each layer in the backward pass. Defaults to False.
        type_vocab_size (int): Rows of the table of token types, 2 in ALBEF. Defaults to 0: none.
        fusion_layer (int): First layer, from 0, that reads media, 6 in ALBEF. Defaults to 0: all
            of them do, and all run texts alone as well.
        layer_offset (int): What its layers' numbers begin with where adapters are looked up: 6 for
            ALBEF's decoder, whose layers are the encoder's from there on. Defaults to 0.
    """

    max_positions: int = 512
    eps: float = 1e-12
    dropout: float = 0.1
    attention_dropout: float = 0.1
    grad_checkpointing: bool = False
    type_vocab_size: int = 0
    fusion_layer: int = 0
    layer_offset: int = 0
