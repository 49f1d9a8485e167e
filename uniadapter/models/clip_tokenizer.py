"""CLIP's tokenizer: byte-pair encoding of lower-cased words."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from torch import Tensor

from uniadapter.utils.json_files import brief, parse_json

from ..registry import TOKENIZERS
from ..utils.paths import find_file
from ..utils.words import without_surrogates
from .base_tokenizer import TextTokenizer
from .clip_merges import NAME, read_merges, words_of_merges

#: The last two words of the vocabulary.
START, END = "<|startoftext|>", "<|endoftext|>"
_SUFFIX = "</w>"
_WORDS = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)
_SOURCE = "copy it from the folder of a transformers CLIP model"
_KEY = "model.data_preprocessor.tokenizer"
# What ftfy leaves as it is; it resolves entities where no tag is in the text.
_PLAIN = re.compile(r"[\t\n\x20-%'-~]*")


@TOKENIZERS.register_module()
class ClipTokenizer(TextTokenizer):
    """Tokenizer of CLIP, with the ids of transformers' ``CLIPTokenizer``.

    A text is cleaned as the original does: HTML entities are resolved (twice), blanks become one,
    letters lower case and composed (NFC). The original's repair of broken encodings (ftfy) is left
    out, as transformers leaves it out, unless ``repair`` asks for it. ``<|startoftext|>`` and
    ``<|endoftext|>``, which a text may contain, are the last two words; padding has the id of the
    latter.

    Args:
        file: ``tokenizer.json`` of transformers.
        vocab: ``vocab.json`` of transformers, instead of ``file`` and beside ``merges``. A model is
            built, counted and converted without the files; the first text needs them.
        merges: ``merges.txt`` of transformers.
        bpe: The original's file of merges instead, ``bpe_simple_vocab_16e6.txt.gz``, or one of its
            form. One of that name is held against the published size and SHA-256.
        repair: Repair texts first, as the original does. Needs the package ftfy for texts beyond
            plain ASCII, which it leaves as they are. Defaults to False.

    Attributes:
        vocab_size: Number of ids, None while there is no file.

    Raises:
        ValueError: When the files are none, or those of another kind of tokenizer, or it is not
            ``file``, ``vocab`` and ``merges``, or ``bpe`` that is named.
    """

    #: Options that name a file.
    file_options = ("file", "vocab", "merges", "bpe")

    def __init__(
        self,
        file: str | None = None,
        vocab: str | None = None,
        merges: str | None = None,
        bpe: str | None = None,
        repair: bool = False,
    ) -> None:
        ways = [way for way in (file, bpe, vocab) if way is not None]
        if len(ways) != 1 or (vocab is None) != (merges is None):
            raise ValueError(
                f"{_KEY}: name either file (tokenizer.json) or both vocab (vocab.json) and merges "
                f"(merges.txt) or bpe ({NAME}), got {file=}, {vocab=}, {merges=}, {bpe=}."
            )
        self._is_bpe, self.repair = bpe is not None, repair
        named = (vocab, merges) if vocab is not None else ways
        self.files = [find_file(name) for name in named if name is not None]
        self._read: Tokenizer | None = None
        self.vocab_size: int | None = None
        if all(path.exists() for path in self.files):
            self.pieces("")

    @property
    def _backend(self) -> Tokenizer:
        """The library's tokenizer.

        Raises:
            FileNotFoundError: When a file is missing.
        """
        if self._read is None:
            read = _read_bpe(self.files[0]) if self._is_bpe else _read_files(self.files)
            self._read = _build(*read, self.files[0])
            self.vocab_size = self._read.get_vocab_size(with_added_tokens=True)
        return self._read

    @property
    def _end(self) -> int:
        return self._backend.get_vocab_size(with_added_tokens=True) - 1

    @property
    def cls_token_id(self) -> int:  # type: ignore[override]
        """Id of ``<|startoftext|>``."""
        return self._end - 1

    @property
    def sep_token_id(self) -> int:  # type: ignore[override]
        """Id of ``<|endoftext|>``."""
        return self._end

    pad_token_id = unk_token_id = sep_token_id

    def pieces(self, text: str) -> list[int]:
        """Ids of a text's pieces.

        Raises:
            FileNotFoundError: When there is no file.
            ImportError: When a text is to be repaired and ftfy is missing.
        """
        if self.repair and not _PLAIN.fullmatch(text):
            text = _fix_text(text)
        clean = html.unescape(html.unescape(without_surrogates(text)))
        # An entity may stand for half of a surrogate pair as well.
        return self._backend.encode(without_surrogates(clean), add_special_tokens=False).ids

    def check_rows(self, rows: int, exact: bool) -> None:
        """As the base class; the tower's last row must be ``<|endoftext|>``, so no row is spare."""
        super().check_rows(rows, exact=True)

    def decode(self, ids: Sequence[int] | Tensor, skip_special_tokens: bool = True) -> str:
        """Return the text of some ids, a blank between words.

        Args:
            ids: Ids of one text.
            skip_special_tokens: Leave out ``<|startoftext|>`` and ``<|endoftext|>``.

        Raises:
            ValueError: For an id outside the vocabulary.
        """
        tokens = []
        for index in ids.tolist() if isinstance(ids, Tensor) else ids:
            token = self._backend.id_to_token(index) if index >= 0 else None
            if token is None:
                raise ValueError(f"Id {index} is outside the vocabulary of {self.vocab_size} ids.")
            if token in (START, END):
                token = "" if skip_special_tokens else token + _SUFFIX
            tokens.append(token)
        return self._backend.decoder.decode(tokens).replace(_SUFFIX, " ").strip()


def _fix_text(text: str) -> str:
    """What ftfy makes of a text."""
    try:
        import ftfy
    except ImportError as error:
        raise ImportError(
            f"{_KEY}.repair=True repairs texts beyond plain ASCII, such as {text!r:.60}, by ftfy, "
            "which is not installed: pip install ftfy, or set it to False."
        ) from error
    return str(ftfy.fix_text(text))


def _read_bpe(path: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Words with their ids, and merges in order, of the original's file."""
    merges = _merges(path, read_merges(path))
    made = Counter(first + second for first, second in merges)
    repeated = next((word for word, times in made.items() if times > 1), None)
    if repeated is not None:
        raise ValueError(
            f"{path} makes {brief(repeated)} again, so that words would have no one id."
        )
    return words_of_merges(merges, _SUFFIX, [START, END]), merges


def _read_files(paths: Sequence[Path]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Words with their ids, and merges in order; of a tokenizer.json, or of two files."""
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist: {_SOURCE} and name it in {_KEY}.")
    content = _read_json(paths[0])
    if len(paths) == 2:
        lines = _read_text(paths[1]).split("\n")
        # The first line may say the version.
        first = 1 if lines[0].startswith(("#", '"')) else 0
        return _vocabulary(paths[0], content), _merges(paths[1], [x for x in lines[first:] if x])
    model = content.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE":
        kind = model.get("type") if isinstance(model, dict) else None
        raise ValueError(
            f"{paths[0]} "
            + (f"holds a tokenizer of type {kind!r}" if kind else "is no tokenizer.json")
            + f", CLIP's is BPE: {_SOURCE}."
        )
    if model.get("end_of_word_suffix") != _SUFFIX:
        raise ValueError(
            f"{paths[0]} ends words with {model.get('end_of_word_suffix')!r}, CLIP with "
            f"{_SUFFIX!r}: it is another family's, {_SOURCE}."
        )
    vocab = _vocabulary(paths[0], model.get("vocab"))
    return vocab, _merges(paths[0], model.get("merges"))


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text ({error}): {_SOURCE}.") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(_read_text(path))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}): {_SOURCE}.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no dictionary: {_SOURCE}.")
    return content


def _vocabulary(path: Path, words: Any) -> dict[str, int]:
    good = isinstance(words, dict) and all(type(index) is int for index in words.values())
    if not good or sorted(words.values()) != list(range(len(words))):
        raise ValueError(f"{path} has no vocabulary with the ids 0, 1, 2 and so on: {_SOURCE}.")
    return words


def _merges(path: Path, merges: Any) -> list[tuple[str, str]]:
    """Pairs; a file has them as such or with a blank between the two."""
    pairs = []
    for merge in merges if isinstance(merges, list) else [None]:
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(parts, list) or len(parts) != 2:
            raise ValueError(
                f"{path} has {brief(merge)} where a merge of two pieces belongs: {_SOURCE}."
            )
        pairs.append((str(parts[0]), str(parts[1])))
    return pairs


def _build(vocab: dict[str, int], merges: list[tuple[str, str]], path: Path) -> Tokenizer:
    """The pipeline of CLIP's tokenizer around a vocabulary."""
    size = len(vocab)
    places = {START: size - 2, END: size - 1}
    found = {token: vocab.get(token) for token in places}
    if found != places:
        raise ValueError(
            f"{path} has the special tokens {found}, not {places}, the last two: {_SOURCE}."
        )
    try:
        model = BPE(vocab=vocab, merges=merges, end_of_word_suffix=_SUFFIX, unk_token=END)
    except Exception as error:  # The library raises this very class.
        said = f"vocabulary and merges disagree ({error!s:.300})"
        raise ValueError(f"{path}: {said}: {_SOURCE}.") from error
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([START, END])
    return tokenizer
