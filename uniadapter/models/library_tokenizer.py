"""What tokenizers of the library ``tokenizers`` have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer
from torch import Tensor

from ..utils.words import without_surrogates
from .base_tokenizer import TextTokenizer

#: The first ids of XLM-R and RoBERTa, in order.
FIRST_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")
MASK_TOKEN = "<mask>"


class LibraryTokenizer(TextTokenizer):
    """A tokenizer whose vocabulary is a file that the library ``tokenizers`` runs.

    A subclass sets the marks' ids and says how the file is read. A model is built, counted and
    converted without the file; the first text needs it.

    Args:
        file: The file, or a folder with it.

    Raises:
        ValueError: When the file is none, or that of another kind of tokenizer.
    """

    #: Whether ids that the file adds to its vocabulary count.
    counts_added = True

    def __init__(self, file: str) -> None:
        self.file = Path(file)
        self._read: Tokenizer | None = None
        self.vocab_size: int | None = None
        if self.file.exists():
            self.pieces("")

    @abstractmethod
    def _load(self) -> Tokenizer:
        """Read the file, and refuse any other one."""

    @property
    def _backend(self) -> Tokenizer:
        """The library's tokenizer.

        Raises:
            FileNotFoundError: When there is no file.
        """
        if self._read is None:
            self._read = self._load()
            self.vocab_size = self._read.get_vocab_size(with_added_tokens=self.counts_added)
        return self._read

    def pieces(self, text: str) -> list[int]:
        """Ids of a text's pieces.

        Raises:
            FileNotFoundError: When there is no file.
        """
        return self._backend.encode(without_surrogates(text), add_special_tokens=False).ids


class XlmTokenizer(LibraryTokenizer):
    """Base class of tokenizers with the marks of XLM-R and RoBERTa.

    ``<s>`` 0, ``<pad>`` 1, ``</s>`` 2, ``<unk>`` 3.
    """

    def __init__(self, file: str) -> None:
        self.cls_token_id, self.pad_token_id, self.sep_token_id, self.unk_token_id = range(4)
        super().__init__(file)

    def decode(self, ids: Sequence[int] | Tensor, skip_special_tokens: bool = True) -> str:
        """Return the text of some ids.

        Args:
            ids: Ids of one text.
            skip_special_tokens: Leave out ``<s>``, ``<pad>``, ``</s>``, ``<unk>`` and ``<mask>``.

        Raises:
            ValueError: For an id outside the vocabulary.
        """
        special, tokens = {*FIRST_TOKENS, MASK_TOKEN}, []
        for index in ids.tolist() if isinstance(ids, Tensor) else ids:
            token = self._backend.id_to_token(index) if index >= 0 else None
            if token is None:
                raise ValueError(f"Id {index} is outside the vocabulary of {self.vocab_size} ids.")
            if not (skip_special_tokens and token in special):
                tokens.append(token)
        return self._backend.decoder.decode(tokens)
