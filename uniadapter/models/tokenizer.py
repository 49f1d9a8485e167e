"""BERT's tokenizer from a local vocabulary, with BLIP's two extra tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders
from tokenizers.models import WordPiece
from torch import Tensor

from ..utils.words import NORMALIZER, PRE_TOKENIZER, WRITTEN_TOKENS, without_surrogates

_PACKAGED = Path(__file__).resolve().parent.parent / "assets" / "bert-base-uncased-vocab.txt"


class BertTokenizer:
    """Uncased WordPiece tokenizer, equal to transformers' ``BertTokenizer`` on any text.

    ``[DEC]`` and ``[ENC]`` get the two ids after the vocabulary (30522 and 30523 for the packaged
    one). They are put in by the model and can't be written in a text.

    Args:
        vocab_file: One token a line, UTF-8, the line number being the id. None means the packaged
            vocabulary of bert-base-uncased.

    Attributes:
        pad_token_id, unk_token_id, cls_token_id, sep_token_id, mask_token_id: Ids of BERT's tokens.
        dec_token_id, enc_token_id: Ids of ``[DEC]`` and ``[ENC]``.
        vocab_size: Number of ids, with ``[DEC]`` and ``[ENC]``.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When a special token is missing or a token stands on two lines.
    """

    def __init__(self, vocab_file: str | None = None) -> None:
        vocabulary = _read_vocabulary(_PACKAGED if vocab_file is None else Path(vocab_file))
        self.pad_token_id = vocabulary["[PAD]"]
        self.unk_token_id = vocabulary["[UNK]"]
        self.cls_token_id = vocabulary["[CLS]"]
        self.sep_token_id = vocabulary["[SEP]"]
        self.mask_token_id = vocabulary["[MASK]"]
        self.dec_token_id = len(vocabulary)
        self.enc_token_id = len(vocabulary) + 1
        self.vocab_size = len(vocabulary) + 2
        self._backend = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
        self._backend.normalizer = NORMALIZER
        self._backend.pre_tokenizer = PRE_TOKENIZER
        self._backend.decoder = decoders.WordPiece(prefix="##")
        self._backend.add_special_tokens(list(WRITTEN_TOKENS))

    def encode(self, text: str, max_length: int | None = None) -> list[int]:
        """Return ``[CLS]`` tokens ``[SEP]`` as ids, at most ``max_length`` of them.

        A longer text loses words at its end, never its ``[SEP]``.

        Raises:
            ValueError: When the text is no string or ``max_length`` has no room for both marks.
        """
        if not isinstance(text, str):
            raise ValueError(f"A text must be a string, got {type(text).__name__}: {text!r}.")
        if max_length is not None and max_length < 2:
            raise ValueError(f"max_length must leave room for [CLS] and [SEP], got {max_length}.")
        text = without_surrogates(text)
        # One text at a time: encode_batch starts threads, which a later fork by the data loader
        # does not survive.
        ids = self._backend.encode(text, add_special_tokens=False).ids
        if max_length is not None:
            ids = ids[: max_length - 2]
        return [self.cls_token_id, *ids, self.sep_token_id]

    def __call__(self, texts: Sequence[str], max_length: int | None = 35) -> tuple[Tensor, Tensor]:
        """Encode texts and pad them to the longest.

        Args:
            texts: T texts.
            max_length: Tokens kept of each, ``[CLS]`` and ``[SEP]`` included; None keeps all.

        Returns:
            ``input_ids`` and ``attention_mask`` (1 for tokens, 0 for padding), both (T, L) long.

        Raises:
            ValueError: When ``texts`` is a single string, or as for :meth:`encode`.
        """
        if isinstance(texts, str):
            raise ValueError("BertTokenizer takes a list of texts; put the one text in a list.")
        rows = [self.encode(text, max_length) for text in texts]
        length = max((len(row) for row in rows), default=0)
        input_ids = torch.full((len(rows), length), self.pad_token_id, dtype=torch.long)
        attention_mask = torch.zeros(len(rows), length, dtype=torch.long)
        for index, row in enumerate(rows):
            input_ids[index, : len(row)] = torch.tensor(row)
            attention_mask[index, : len(row)] = 1
        return input_ids, attention_mask

    def decode(self, ids: Sequence[int] | Tensor, skip_special_tokens: bool = True) -> str:
        """Return the text of some ids.

        Args:
            ids: Ids of one text.
            skip_special_tokens: Leave out ``[PAD]``, ``[CLS]``, ``[SEP]``, ``[DEC]`` and so on.

        Raises:
            ValueError: For an id outside the vocabulary.
        """
        extra = {self.dec_token_id: "[DEC]", self.enc_token_id: "[ENC]"}
        special = {*WRITTEN_TOKENS, *extra.values()}
        tokens = []
        for index in ids.tolist() if isinstance(ids, Tensor) else ids:
            token = extra.get(index) or (self._backend.id_to_token(index) if index >= 0 else None)
            if token is None:
                raise ValueError(f"Id {index} is outside the vocabulary of {self.vocab_size} ids.")
            if not (skip_special_tokens and token in special):
                tokens.append(token)
        return self._backend.decoder.decode(tokens)


def _read_vocabulary(path: Path) -> dict[str, int]:
    if not path.is_file():
        raise FileNotFoundError(
            f"vocab_file = {str(path)!r} does not exist; leave it None for the packaged vocabulary."
        )
    vocabulary: dict[str, int] = {}
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file):
            token = line.rstrip("\n")
            if token in vocabulary:
                raise ValueError(
                    f"{path}: line {number + 1}: token {token!r} stands on line "
                    f"{vocabulary[token] + 1} already; remove one."
                )
            vocabulary[token] = number
    missing = [token for token in WRITTEN_TOKENS if token not in vocabulary]
    if missing:
        raise ValueError(
            f"{path}: the special tokens {missing} are missing; a vocabulary has one token a line "
            f"and contains {list(WRITTEN_TOKENS)}."
        )
    return vocabulary
