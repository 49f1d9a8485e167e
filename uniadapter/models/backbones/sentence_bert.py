"""BERT as an encoder of sentences: a text is the mean of its tokens (Reimers and Gurevych 2019).

That is what sentence-transformers' modules ``Transformer``, ``Pooling`` and ``Normalize`` compute.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from uniadapter.registry import MODELS

from ..execution import Want, Words
from .bert.text import BertText


@MODELS.register_module()
class SentenceBert(BertText):
    """A plain BERT whose texts are the mean of their tokens' last states, with length 1.

    The defaults are the sizes of MiniLM-L6, trained on a billion pairs of sentences, whose files
    :func:`uniadapter.checkpoints.layouts.read_sentence_bert` reads.

    Args:
        vocab_size (int): Words. Defaults to 30522.
        hidden_size (int): Width D. Defaults to 384.
        num_layers (int): Defaults to 6.
        num_heads (int): Defaults to 12.
        intermediate_size (int): Width of the feed-forward networks. Defaults to 1536.
        type_vocab_size (int): Rows of the table of token types. Defaults to 0: the row that all
            tokens have is part of the positions.
        layer_offset (int): What its layers' numbers begin with where adapters are looked up, such
            as 11 beside a visual tower of 17 layers, so that both end with one number. Defaults to
            0.
        **options: Those of :class:`BertText`.

    Raises:
        ValueError: If ``hidden_size`` is no multiple of ``num_heads``, or ``layer_offset`` is
            negative.
    """

    def __init__(
        self,
        vocab_size: int = 30522,
        hidden_size: int = 384,
        num_layers: int = 6,
        num_heads: int = 12,
        intermediate_size: int = 1536,
        type_vocab_size: int = 0,
        layer_offset: int = 0,
        **options: Any,
    ) -> None:
        if layer_offset < 0:
            raise ValueError(f"text.layer_offset={layer_offset} must be at least 0.")
        super().__init__(
            vocab_size,
            hidden_size,
            num_layers,
            num_heads,
            intermediate_size,
            type_vocab_size=type_vocab_size,
            **options,
        )
        self.layer_offset = layer_offset

    def states(self, words: Words, want: Want = "all") -> torch.Tensor:
        """Encode texts.

        Args:
            words (Words): (T, L), each with a token at least.
            want (str): ``'all'``, or ``'first'``, the mean alone. Defaults to ``'all'``.

        Returns:
            Tensor: (T, 1 + L, D), the normalised mean over a text's tokens and then all of them;
            or (T, 1, D), the means.
        """
        states = self(words.ids, words.mask)
        seen = states if words.mask is None else states * words.mask[..., None].to(states.dtype)
        # Of length 1, a mean is the sum.
        mean = F.normalize(seen.sum(1, keepdim=True), dim=-1)
        return mean if want == "first" else torch.cat((mean, states), 1)
