"""BART's byte-level BPE, with the words of no text that VL-BART puts behind it."""

from __future__ import annotations

from tokenizers import Tokenizer

from ..registry import TOKENIZERS
from .library_tokenizer import append_words, numbered
from .roberta_tokenizer import RobertaTokenizer


@TOKENIZERS.register_module()
class BartTokenizer(RobertaTokenizer):
    """Tokenizer of BART, as its fast one in transformers, and what VL-BART adds to it.

    ``<s>`` 0, ``<pad>`` 1, ``</s>`` 2, ``<unk>`` 3. A text stands between ``<s>`` and ``</s>``; a
    decoder begins with ``</s>``. Behind the file's words are ``<extra_id_99>`` to ``<extra_id_0>``
    and ``<vis_extra_id_99>`` to ``<vis_extra_id_0>``, the latter for things in pictures. They are
    left out of decoded texts.

    Args:
        file: A ``tokenizer.json``, or a folder with one, or with ``vocab.json`` and ``merges.txt``
            (facebook/bart-base). A model is built, counted and converted without it; the first text
            needs it.
        extra_tokens: Words of the first kind. Defaults to 100.
        vis_tokens: Words of the second kind. Defaults to 100.

    Attributes:
        vocab_size: Number of ids, None while there is no file: 50465 of bart-base.

    Raises:
        ValueError: When the file is none, or that of another kind of tokenizer, or has these words.
    """

    remedy = (
        "name BART's folder (facebook/bart-base) with tokenizer.json, or vocab.json and "
        "merges.txt, in model.data_preprocessor.tokenizer.file"
    )

    def __init__(self, file: str, extra_tokens: int = 100, vis_tokens: int = 100) -> None:
        self.added = numbered("extra_id", extra_tokens) + numbered("vis_extra_id", vis_tokens)
        super().__init__(file)

    @property
    def decoder_start_id(self) -> int:
        """``</s>``."""
        return self.sep_token_id

    def _load(self) -> Tokenizer:
        tokenizer = super()._load()
        append_words(tokenizer, self.added, self.file)
        return tokenizer
