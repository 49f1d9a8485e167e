"""T5's tokenizer: sentencepiece's pieces under their own ids, from a ``tokenizer.json``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tokenizers import Tokenizer
from torch import Tensor

from ..registry import TOKENIZERS
from .library_tokenizer import LibraryTokenizer, append_words, numbered
from .sentencepiece_tokenizer import read_pieces

#: The first ids, in order.
FIRST_TOKENS = ("<pad>", "</s>", "<unk>")
_HINT = (
    "(or copy it from the folder of a transformers T5 model) with "
    "tools/model_converters/convert_sentencepiece.py --ids t5"
)


@TOKENIZERS.register_module()
class T5Tokenizer(LibraryTokenizer):
    """Tokenizer of T5: ``<pad>`` 0, ``</s>`` 1, ``<unk>`` 2, then the pieces, then sentinels.

    A text ends with ``</s>`` and has no mark in front; a decoder begins with ``<pad>``. Texts keep
    their case.

    Args:
        file: ``tokenizer.json`` of transformers' T5 folders, or what the converter tool makes of
            ``spiece.model``. A model is built, counted and converted without it; the first text
            needs it.
        vis_tokens: Words ``<vis_extra_id_99>`` to ``<vis_extra_id_0>`` (of 100) behind the file's,
            which stand for things in pictures. Defaults to 0; VL-T5 has 100.

    Attributes:
        vocab_size: Number of ids, None while there is no file. A tower may have more rows.

    Raises:
        ValueError: When the file is none, or that of another kind of tokenizer, or has these words.
    """

    def __init__(self, file: str, vis_tokens: int = 0) -> None:
        self.added = numbered("vis_extra_id", vis_tokens)
        self.pad_token_id, self.sep_token_id, self.unk_token_id = range(3)
        self.cls_token_id = self.pad_token_id
        super().__init__(file)

    def _load(self) -> Tokenizer:
        marks = {token: index for index, token in enumerate(FIRST_TOKENS)}
        tokenizer = read_pieces(self.file, marks, _HINT)
        append_words(tokenizer, self.added, self.file)
        return tokenizer

    def encode(
        self,
        text: str,
        max_length: int | None = None,
        pieces: Callable[[str], list[int]] | None = None,
    ) -> list[int]:
        """Return a text's ids and ``</s>``, at most ``max_length`` of them.

        A longer text loses words at its end, never the mark behind it.

        Args:
            text: The text.
            max_length: Most ids, the mark included; None keeps all.
            pieces: Gives the ids of a text in the place of :meth:`pieces`.

        Raises:
            ValueError: When the text is no string or ``max_length`` is below 1.
        """
        if not isinstance(text, str):
            raise ValueError(f"A text must be a string, got {type(text).__name__}: {text!r}.")
        if max_length is not None and max_length < 1:
            raise ValueError(f"max_length must leave room for </s>, got {max_length}.")
        ids = (pieces or self.pieces)(text)
        return [*(ids if max_length is None else ids[: max_length - 1]), self.sep_token_id]

    def decode(self, ids: Sequence[int] | Tensor, skip_special_tokens: bool = True) -> str:
        """Return the text of some ids.

        Args:
            ids: Ids of one text. Those of rows that no word uses, which a model may write, are left
                out.
            skip_special_tokens: Leave out ``<pad>``, ``</s>``, ``<unk>`` and sentinels.

        Raises:
            ValueError: For an id below 0.
        """
        numbers = ids.tolist() if isinstance(ids, Tensor) else list(ids)
        if any(number < 0 for number in numbers):
            raise ValueError(f"Id {min(numbers)} is below 0.")
        backend = self._backend
        known = [number for number in numbers if backend.id_to_token(number) is not None]
        return backend.decode(known, skip_special_tokens=skip_special_tokens).strip()
