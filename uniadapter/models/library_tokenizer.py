"""What tokenizers of the library ``tokenizers`` have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tokenizers import AddedToken, Tokenizer
from torch import Tensor

from ..utils.paths import find_file
from ..utils.words import without_surrogates
from .base_tokenizer import TextTokenizer

#: The first ids of XLM-R and RoBERTa, in order.
FIRST_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")
MASK_TOKEN = "<mask>"


@contextmanager
def library_errors(path: object, remedy: str) -> Iterator[None]:
    """Let what the library says of a damaged file be an error that names it.

    Args:
        path: The file, or several in words.
        remedy: What to do.

    Raises:
        ValueError: Instead of what the library raises: ``Exception`` itself, or, where what it
            counts on does not hold, Rust's panic, which is no ``Exception``.
    """
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__module__ != "pyo3_runtime":
            raise
        raise ValueError(f"{path} is damaged ({error!s:.300}): {remedy}.") from error


def numbered(name: str, count: int) -> tuple[str, ...]:
    """Words of no text, ``<NAME_99>`` to ``<NAME_0>`` of 100.

    Raises:
        ValueError: If ``count`` is no whole number of at least 0.
    """
    if not isinstance(count, int) or count < 0:
        raise ValueError(f"The number of words {f'<{name}_0>'!r} must be an int >= 0: {count!r}.")
    return tuple(f"<{name}_{index}>" for index in reversed(range(count)))


def append_words(tokenizer: Tokenizer, words: Sequence[str], file: Path) -> None:
    """Put words of no text behind a vocabulary, in order.

    Args:
        tokenizer (Tokenizer): Whose vocabulary it is.
        words (Sequence[str]): The words.
        file (Path): Where it was read, for the error.

    Raises:
        ValueError: If it has one of them already.
    """
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    known = [word for word in words if tokenizer.token_to_id(word) is not None]
    tokenizer.add_special_tokens([AddedToken(word, normalized=False) for word in words])
    if known or [tokenizer.token_to_id(word) for word in words] != [
        *range(size, size + len(words))
    ]:
        raise ValueError(
            f"{file}: the words {words[0]!r} to {words[-1]!r} belong behind a vocabulary of "
            f"{size} ids, and {known[:1] or 'others'} are there already: name the file of the "
            "published language model, not a lengthened one."
        )


class LibraryTokenizer(TextTokenizer):
    """A tokenizer whose vocabulary is a file that the library ``tokenizers`` runs.

    A subclass sets the marks' ids and says how the file is read. A model is built, counted and
    converted without the file; the first text needs it.

    Args:
        file: The file, or a folder with it.

    Raises:
        ValueError: When the file is none, or that of another kind of tokenizer.
    """

    #: Options that name a file.
    file_options = ("file",)
    #: Whether ids that the file adds to its vocabulary count.
    counts_added = True

    def __init__(self, file: str) -> None:
        self.file = find_file(file)
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

    #: Words of no text behind the file's.
    added: tuple[str, ...] = ()

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
        special, tokens = {*FIRST_TOKENS, MASK_TOKEN, *self.added}, []
        for index in ids.tolist() if isinstance(ids, Tensor) else ids:
            token = self._backend.id_to_token(index) if index >= 0 else None
            if token is None:
                raise ValueError(f"Id {index} is outside the vocabulary of {self.vocab_size} ids.")
            if not (skip_special_tokens and token in special):
                tokens.append(token)
        return self._backend.decoder.decode(tokens)
