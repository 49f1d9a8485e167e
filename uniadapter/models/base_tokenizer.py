"""What every tokenizer does with the ids that its vocabulary gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class TextTokenizer(ABC):
    """Base class of tokenizers; a subclass sets the attributes and turns text into ids and back.

    Attributes:
        pad_token_id (int): Fills short rows up; masked.
        unk_token_id (int): Stands for what is in no word of the vocabulary.
        cls_token_id (int): The mark in front of a text.
        sep_token_id (int): The mark behind it.
        vocab_size (int, optional): Number of ids; all are below it. None while it isn't known.
    """

    pad_token_id: int
    unk_token_id: int
    cls_token_id: int
    sep_token_id: int
    vocab_size: int | None

    @property
    def decoder_start_id(self) -> int:
        """The mark that a decoder's text begins with."""
        return self.cls_token_id

    @abstractmethod
    def pieces(self, text: str) -> list[int]:
        """Ids of a text without the marks at its ends."""

    @abstractmethod
    def decode(self, ids: Sequence[int] | Tensor, skip_special_tokens: bool = True) -> str:
        """Return the text of some ids, those of one text."""

    def check_rows(self, rows: int, exact: bool) -> None:
        """Compare the vocabulary, where it is known, with a text tower's table of words.

        Args:
            rows (int): Rows of the table.
            exact (bool): Whether each row must be a word; otherwise some may be unused.

        Raises:
            ValueError: If the tower has too few rows, or another number of them with ``exact``.
        """
        size = rows if self.vocab_size is None else self.vocab_size
        if size > rows or (exact and size != rows):
            raise ValueError(
                f"text.vocab_size={rows}, but the tokenizer of data_preprocessor has {size} words "
                "(marks such as [DEC] and [ENC] included): make them agree, or name the tokenizer "
                "of that backbone in model.data_preprocessor.tokenizer."
            )

    def words(self, text: str) -> list[list[int]]:
        """The same ids, those of each word together.

        Raises:
            NotImplementedError: If the tokenizer does not tell words apart.
        """
        raise NotImplementedError(f"{type(self).__name__} does not tell words apart.")

    def encode(
        self,
        text: str,
        max_length: int | None = None,
        pieces: Callable[[str], list[int]] | None = None,
    ) -> list[int]:
        """Return a text's ids between its two marks, at most ``max_length`` of them.

        A longer text loses words at its end, never the mark behind it.

        Args:
            text: The text.
            max_length: Most ids, both marks included; None keeps all.
            pieces: Gives the ids of a text in the place of :meth:`pieces`.

        Raises:
            ValueError: When the text is no string or ``max_length`` has no room for both marks.
        """
        if not isinstance(text, str):
            raise ValueError(f"A text must be a string, got {type(text).__name__}: {text!r}.")
        if max_length is not None and max_length < 2:
            raise ValueError(
                "max_length must leave room for [CLS] and [SEP], the marks at the ends, got "
                f"{max_length}."
            )
        # One text at a time: batches start threads in the library, which a later fork by the data
        # loader does not survive.
        ids = (pieces or self.pieces)(text)
        if max_length is not None:
            ids = ids[: max_length - 2]
        return [self.cls_token_id, *ids, self.sep_token_id]

    def __call__(
        self,
        texts: Sequence[str],
        max_length: int | None = 35,
        pieces: Callable[[str], list[int]] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Encode texts and pad them to the longest.

        Args:
            texts: T texts.
            max_length: Tokens kept of each, both marks included; None keeps all.
            pieces: See :meth:`encode`.

        Returns:
            ``input_ids`` and ``attention_mask`` (1 for tokens, 0 for padding), both (T, L) long.

        Raises:
            ValueError: When ``texts`` is a single string, or as for :meth:`encode`.
        """
        if isinstance(texts, str):
            raise ValueError(
                f"{type(self).__name__} takes a list of texts; put the one text in a list."
            )
        rows = [self.encode(text, max_length, pieces) for text in texts]
        length = max((len(row) for row in rows), default=0)
        input_ids = torch.full((len(rows), length), self.pad_token_id, dtype=torch.long)
        attention_mask = torch.zeros(len(rows), length, dtype=torch.long)
        for index, row in enumerate(rows):
            input_ids[index, : len(row)] = torch.tensor(row)
            attention_mask[index, : len(row)] = 1
        return input_ids, attention_mask
