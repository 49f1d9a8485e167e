"""Word and position embeddings of BERT, with token types (ALBEF) or without (BLIP)."""

from __future__ import annotations

import torch
from torch import nn

from ...sites import TokenSlot


def check_length(length: int, positions: int, key: str | None = None) -> None:
    """Refuse texts of more tokens than a tower has positions.

    Args:
        length (int): Tokens of the longest text.
        positions (int): Positions.
        key (str, optional): The option that allows as many, for the error.

    Raises:
        ValueError: If there are too few positions.
    """
    if length > positions and key is not None:
        raise ValueError(
            f"{key} allows texts of {length} tokens, but their tower has {positions} "
            "positions: lower it."
        )
    if length > positions:
        raise ValueError(
            f"A text of {length} tokens exceeds the {positions} positions of the text tower: "
            "lower max_text_len (text_lens, of several tasks) in the data preprocessor."
        )


class BertEmbeddings(nn.Module):
    """Sum of word and position embeddings, normalised.

    Args:
        vocab_size (int): Number of words, ``[DEC]`` and ``[ENC]`` included where there are any.
        hidden_size (int): Width D.
        max_positions (int): Longest sequence in tokens.
        eps (float): LayerNorm epsilon.
        dropout (float): Dropout probability.
        type_vocab_size (int): Rows of the table of token types. Every token is of the first type,
            whose row is part of the sum; 0 leaves the table out. Defaults to 0.
    """

    token_type_embeddings: nn.Embedding

    def __init__(
        self,
        vocab_size: int,
        hidden_size: int,
        max_positions: int,
        eps: float,
        dropout: float,
        type_vocab_size: int = 0,
    ) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocab_size, hidden_size, padding_idx=0)
        self.position_embeddings = nn.Embedding(max_positions, hidden_size)
        self.has_types = type_vocab_size > 0
        if self.has_types:
            self.token_type_embeddings = nn.Embedding(type_vocab_size, hidden_size)
        self.LayerNorm = nn.LayerNorm(hidden_size, eps=eps)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, input_ids: torch.Tensor, offset: int = 0, added: TokenSlot | None = None
    ) -> torch.Tensor:
        """Embed tokens.

        Args:
            input_ids (Tensor): Word ids of shape (B, L).
            offset (int): Position of the first token, for decoding with a cache.
            added (TokenSlot, optional): Puts n tokens behind the first word, which have positions
                of their own and move those of the words behind them.

        Returns:
            Tensor: Embeddings of shape (B, L, D), or (B, n + L, D).

        Raises:
            ValueError: If the sequence is longer than the position table.
        """
        x = self.word_embeddings(input_ids)
        if added is not None:
            x = added.extend(x)
        end = offset + x.shape[1]
        self.check(end)
        if self.has_types:
            x = x + self.token_type_embeddings.weight[0]
        return self.dropout(self.LayerNorm(x + self.position_embeddings.weight[offset:end]))

    def check(self, length: int, key: str | None = None) -> None:
        """Refuse texts of more tokens than there are positions.

        Args:
            length (int): Tokens of the longest text.
            key (str, optional): The option that allows as many, for the error.

        Raises:
            ValueError: If ``length`` is above the position table.
        """
        check_length(length, self.position_embeddings.num_embeddings, key)
