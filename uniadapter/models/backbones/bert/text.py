"""BERT as a text encoder alone, without cross-attention."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from uniadapter.registry import MODELS

from .encoder import BertModel


@dataclass(frozen=True)
class TextOptions:
    """Options of a :class:`BertText` that none of its layers' widths depends on.

    Args:
        max_positions (int): Longest text in tokens. Defaults to 512.
        type_vocab_size (int): Rows of the table of token types, of which texts have the first; 0
            leaves it out, where its row was added to the positions. Defaults to 2.
        eps (float): LayerNorm epsilon. Defaults to 1e-12.
        dropout (float): Dropout of the hidden states. Defaults to 0.1.
        attention_dropout (float): Dropout of attention probabilities. Defaults to 0.1.
        grad_checkpointing (bool): Recompute each layer in the backward pass. Defaults to False.
    """

    max_positions: int = 512
    type_vocab_size: int = 2
    eps: float = 1e-12
    dropout: float = 0.1
    attention_dropout: float = 0.1
    grad_checkpointing: bool = False


@MODELS.register_module()
class BertText(BertModel):
    """A plain BERT: texts read nothing but themselves.

    Its parameters have transformers' names, without the pooler. The defaults are the sizes of
    bert-base-uncased; MiniLM-L6 has ``hidden_size=384, num_layers=6, intermediate_size=1536``.

    Args:
        vocab_size (int): Words. Defaults to 30522.
        hidden_size (int): Width D. Defaults to 768.
        num_layers (int): Defaults to 12.
        num_heads (int): Defaults to 12.
        intermediate_size (int): Width of the feed-forward networks. Defaults to 3072.
        **options: Those of :class:`TextOptions`.

    Raises:
        ValueError: If ``hidden_size`` is no multiple of ``num_heads``.
    """

    roles: tuple[str, ...] = ("text",)

    Options = TextOptions

    def __init__(
        self,
        vocab_size: int = 30522,
        hidden_size: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
        intermediate_size: int = 3072,
        **options: Any,
    ) -> None:
        super().__init__(
            vocab_size,
            hidden_size,
            num_layers,
            num_heads,
            intermediate_size,
            **asdict(TextOptions(**options)),
            fusion_layer=num_layers,
        )
