"""BERT's tokenizer from a local vocabulary, with BLIP's two extra tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from tokenizers import Tokenizer, decoders
from tokenizers.models import WordPiece
from torch import Tensor

from ..registry import TOKENIZERS
from ..utils.paths import find_file
from ..utils.words import (
    NORMALIZER,
    PRE_TOKENIZER,
    WRITTEN_TOKENS,
    without_surrogates,
    words_of,
)
from .base_tokenizer import TextTokenizer

_KIND = f"a vocabulary has one token a line and contains {list(WRITTEN_TOKENS)}."
_PACKAGED = Path(__file__).resolve().parent.parent / "assets" / "bert-base-uncased-vocab.txt"


@TOKENIZERS.register_module()
class BertTokenizer(TextTokenizer):
    """Uncased WordPiece tokenizer, equal to transformers' ``BertTokenizer`` on any text.

    The extra tokens get the ids after the vocabulary: ``[DEC]`` and ``[ENC]`` 30522 and 30523 for
    the packaged one. They are put in by the model and can't be written in a text.

    Args:
        vocab_file: One token a line, UTF-8, the line number being the id. None means the packaged
            vocabulary of bert-base-uncased.
        extra_tokens: Marks behind the vocabulary: BLIP's two by default, none for ALBEF.

    Attributes:
        pad_token_id, unk_token_id, cls_token_id, sep_token_id, mask_token_id: Ids of BERT's tokens.
        dec_token_id, enc_token_id: Ids of ``[DEC]`` and ``[ENC]``; ``[CLS]``'s where there is none.
        vocab_size: Number of ids, with the extra tokens.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When the file is another kind of tokenizer's, a special token is missing, a
            token stands on two lines, or an extra token is in the vocabulary.
    """

    #: Options that name a file.
    file_options = ("vocab_file",)
    #: What they are where nothing is named.
    packaged_files: ClassVar[dict[str, Path]] = {"vocab_file": _PACKAGED}
    vocab_size: int

    def __init__(
        self, vocab_file: str | None = None, extra_tokens: Sequence[str] = ("[DEC]", "[ENC]")
    ) -> None:
        vocabulary = _read_vocabulary(_PACKAGED if vocab_file is None else find_file(vocab_file))
        self.pad_token_id = vocabulary["[PAD]"]
        self.unk_token_id = vocabulary["[UNK]"]
        self.cls_token_id = vocabulary["[CLS]"]
        self.sep_token_id = vocabulary["[SEP]"]
        self.mask_token_id = vocabulary["[MASK]"]
        twice = [token for token in extra_tokens if token in vocabulary]
        if isinstance(extra_tokens, str) or twice or len(set(extra_tokens)) < len(extra_tokens):
            raise ValueError(
                f"tokenizer.extra_tokens={extra_tokens!r} must be a list of tokens, each once, "
                "that the vocabulary does not have."
            )
        self._extra = {token: len(vocabulary) + i for i, token in enumerate(extra_tokens)}
        self.dec_token_id = self._extra.get("[DEC]", self.cls_token_id)
        self.enc_token_id = self._extra.get("[ENC]", self.cls_token_id)
        self.vocab_size = len(vocabulary) + len(self._extra)
        self._backend = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
        self._backend.normalizer = NORMALIZER
        self._backend.pre_tokenizer = PRE_TOKENIZER
        self._backend.decoder = decoders.WordPiece(prefix="##")
        self._backend.add_special_tokens(list(WRITTEN_TOKENS))

    @property
    def decoder_start_id(self) -> int:
        """``[DEC]``, or ``[CLS]`` where there is none."""
        return self.dec_token_id

    def check_rows(self, rows: int, exact: bool) -> None:
        """As the base class, and always exactly: a table has a row a line, or is another's."""
        super().check_rows(rows, exact=True)

    def pieces(self, text: str) -> list[int]:
        """Ids of a text's word pieces."""
        return self._backend.encode(without_surrogates(text), add_special_tokens=False).ids

    def words(self, text: str) -> list[list[int]]:
        """Ids of a text's word pieces, word by word; see the base class."""
        return [self.pieces(word) for word in words_of(text)]

    def decode(self, ids: Sequence[int] | Tensor, skip_special_tokens: bool = True) -> str:
        """Return the text of some ids.

        Args:
            ids: Ids of one text.
            skip_special_tokens: Leave out ``[PAD]``, ``[CLS]``, ``[SEP]``, ``[DEC]`` and so on.

        Raises:
            ValueError: For an id outside the vocabulary.
        """
        extra = {index: token for token, index in self._extra.items()}
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
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: this is no text; {_KIND}") from error
    tokens = lines if lines[-1] else lines[:-1]
    missing = [token for token in WRITTEN_TOKENS if token not in tokens]
    if missing:
        said = f"the special tokens {missing} are missing"
        if lines[0].lstrip().startswith("{"):
            said = "this is a tokenizer.json"
        raise ValueError(f"{path}: {said}; {_KIND}")
    vocabulary: dict[str, int] = {}
    for number, token in enumerate(tokens):
        if token in vocabulary:
            raise ValueError(
                f"{path}: line {number + 1}: token {token!r} stands on line "
                f"{vocabulary[token] + 1} already; remove one."
            )
        vocabulary[token] = number
    return vocabulary
