"""BERT's tokenizer from a local vocabulary, with BLIP's two extra tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders
from tokenizers.models import WordPiece
from torch import Tensor

from ..registry import TOKENIZERS
from ..utils.words import NORMALIZER, PRE_TOKENIZER, WRITTEN_TOKENS, without_surrogates
from .base_tokenizer import TextTokenizer

_PACKAGED = Path(__file__).resolve().parent.parent / "assets" / "bert-base-uncased-vocab.txt"


@TOKENIZERS.register_module()
class BertTokenizer(TextTokenizer):
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

    vocab_size: int

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

    def pieces(self, text: str) -> list[int]:
        """Ids of a text's word pieces."""
        return self._backend.encode(without_surrogates(text), add_special_tokens=False).ids

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
