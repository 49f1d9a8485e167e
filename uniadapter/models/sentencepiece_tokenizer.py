"""A sentencepiece tokenizer with the ids of XLM-R, from a ``tokenizer.json``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from uniadapter.utils.json_files import brief, parse_json

from ..registry import TOKENIZERS
from .library_tokenizer import FIRST_TOKENS, MASK_TOKEN, XlmTokenizer, library_errors

_TOOL = "tools/model_converters/convert_sentencepiece.py"


@TOKENIZERS.register_module()
class SentencePieceTokenizer(XlmTokenizer):
    """Tokenizer of BEiT-3: sentencepiece's pieces under the ids of XLM-R.

    ``<s>`` 0, ``<pad>`` 1, ``</s>`` 2, ``<unk>`` 3, every other piece the sentencepiece model's id
    plus 1, ``<mask>`` last. Texts keep their case. A special token that is written out in a text
    is that token, as in XLM-R's tokenizer.

    Args:
        file: ``tokenizer.json`` that the converter tool makes of a sentencepiece model. A model is
            built, counted and converted without it; the first text needs it.

    Attributes:
        vocab_size: Number of ids, None while there is no file. A tower may have more rows.

    Raises:
        ValueError: When the file is none, or that of another kind of tokenizer.
    """

    # <mask> and what else a file may add are no pieces.
    counts_added = False

    def _load(self) -> Tokenizer:
        marks = {**{token: index for index, token in enumerate(FIRST_TOKENS)}, MASK_TOKEN: -1}
        return read_pieces(self.file, marks, f"with {_TOOL}")

    @property
    def mask_token_id(self) -> int:
        """Id of ``<mask>``, the last one."""
        return self._backend.get_vocab_size(with_added_tokens=False) - 1


def read_pieces(path: Path, marks: Mapping[str, int], by: str) -> Tokenizer:
    """Read the ``tokenizer.json`` of a sentencepiece model, and refuse any other one.

    Args:
        path: The file.
        marks: Ids of its special tokens; -1 is the last one of all.
        by: How it is made of a sentencepiece model, such as ``'with TOOL'``.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When it is damaged, or that of another kind of tokenizer.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: make the tokenizer.json of the backbone's sentencepiece model "
            f"{by} and name it in model.data_preprocessor.tokenizer.file."
        )
    wrong = f"make it of the backbone's sentencepiece model (.spm) {by}"
    try:
        content: Any = parse_json(path.read_bytes())
    except ValueError as error:
        what = "a sentencepiece model" if path.suffix in (".spm", ".model") else "no JSON"
        raise ValueError(f"{path} is {what}, not a tokenizer.json: {wrong}.") from error
    model = content.get("model") if isinstance(content, dict) else None
    kind = model.get("type") if isinstance(model, dict) else None
    if kind not in ("Unigram", "BPE"):
        said = f"holds a tokenizer of type {brief(kind)}" if kind else "is no tokenizer.json"
        raise ValueError(f"{path} {said}, sentencepiece has Unigram or BPE: {wrong}.")
    with library_errors(path, f"{wrong} again"):
        tokenizer = Tokenizer.from_file(str(path))
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    places = {token: index % max(size, 1) for token, index in marks.items()}
    found = {token: tokenizer.token_to_id(token) for token in places}
    if found != places or tokenizer.decoder is None:
        raise ValueError(f"{path} has the special tokens {found}, not {places}: {wrong}.")
    # Who saved it after its use has left a length in it, at which texts would be cut or filled.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
