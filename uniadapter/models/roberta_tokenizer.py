"""RoBERTa's byte-level BPE, which also says where in a text each token stands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Encoding, Tokenizer, decoders, models, pre_tokenizers, processors

from uniadapter.utils.json_files import brief, parse_json

from ..registry import TOKENIZERS
from ..utils.words import without_surrogates
from .library_tokenizer import FIRST_TOKENS, MASK_TOKEN, XlmTokenizer, library_errors


@TOKENIZERS.register_module()
class RobertaTokenizer(XlmTokenizer):
    """Tokenizer of RoBERTa, as its fast one in transformers.

    ``<s>`` 0, ``<pad>`` 1, ``</s>`` 2, ``<unk>`` 3. Texts keep their case. A blank in front of a
    word belongs to its token, but not to the place of the token.

    Args:
        file: A ``tokenizer.json``, or a folder with one, or with ``vocab.json`` and ``merges.txt``.
            A model is built, counted and converted without it; the first text needs it.

    Attributes:
        vocab_size: Number of ids, None while there is no file. A tower may have more rows.

    Raises:
        ValueError: When the file is none, or that of another kind of tokenizer.
    """

    #: What to do about a file that will not do.
    remedy = (
        "name RoBERTa's folder (roberta-base) with tokenizer.json, or vocab.json and merges.txt, "
        "in model.data_preprocessor.tokenizer.file"
    )

    def _load(self) -> Tokenizer:
        return _read(self.file, self.remedy)

    def places(self, text: str, spans: Iterable[Sequence[int]]) -> list[int]:
        """Positions of the tokens that spans of a text cover, the marks at the ends counted.

        From the token of a span's first character to that of its last one, inclusive. Where a
        character has no token (a blank), the first looks one and two characters further on, the
        last one and two further back; a span without both is left out.

        Args:
            text: The text.
            spans: [begin, end) in characters.

        Returns:
            The positions, sorted, each once.
        """
        encoding = self._backend.encode(without_surrogates(text))
        found: set[int] = set()
        for begin, end in spans:
            first = _token_at(encoding, (begin, begin + 1, begin + 2))
            last = _token_at(encoding, (end - 1, end - 2, end - 3))
            if first is not None and last is not None:
                found.update(range(first, last + 1))
        return sorted(found)


def _token_at(encoding: Encoding, characters: Sequence[int]) -> int | None:
    """The token of the first of some characters that has one."""
    for character in characters:
        token = None if character < 0 else encoding.char_to_token(character)
        if token is not None:
            return token
    return None


def _read(path: Path, remedy: str) -> Tokenizer:
    """Read the file, or the folder, and refuse what is none of RoBERTa's."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: {remedy}.")
    file = path / "tokenizer.json" if path.is_dir() else path
    tokenizer = _from_json(file, remedy) if file.is_file() else _from_lists(path, remedy)
    places = {token: index for index, token in enumerate(FIRST_TOKENS)}
    found = {token: tokenizer.token_to_id(token) for token in places}
    if found != places:
        raise ValueError(f"{path} has the special tokens {found}, not {places}: {remedy}.")
    # As in RoBERTa's own: the marks at the ends, blanks outside of the places.
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False
    )
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _from_json(file: Path, remedy: str) -> Tokenizer:
    try:
        content: Any = parse_json(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"{file} is no JSON ({error}): {remedy}.") from error
    model = content.get("model") if isinstance(content, dict) else None
    kind = model.get("type") if isinstance(model, dict) else None
    if kind != "BPE":
        said = f"holds a tokenizer of type {brief(kind)}" if kind else "is no tokenizer.json"
        raise ValueError(f"{file} {said}, RoBERTa has BPE: {remedy}.")
    before = content.get("pre_tokenizer")
    if not isinstance(before, dict) or before.get("type") != "ByteLevel":
        raise ValueError(f"{file} does not work on bytes, as RoBERTa's: {remedy}.")
    with library_errors(file, remedy):
        return Tokenizer.from_file(str(file))


def _from_lists(folder: Path, remedy: str) -> Tokenizer:
    vocab, merges = folder / "vocab.json", folder / "merges.txt"
    missing = [file.name for file in (vocab, merges) if not file.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} has neither tokenizer.json nor {' and '.join(missing)}: {remedy}."
        )
    with library_errors(f"{vocab} or {merges}", remedy):
        model = models.BPE.from_file(str(vocab), str(merges))
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    known = [
        token for token in (*FIRST_TOKENS, MASK_TOKEN) if tokenizer.token_to_id(token) is not None
    ]
    tokenizer.add_special_tokens(known)
    return tokenizer
