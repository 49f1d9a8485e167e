r"""Turn a sentencepiece model (``beit3.spm``) into the ``tokenizer.json`` that the package reads.

    python tools/model_converters/convert_sentencepiece.py beit3.spm checkpoints/beit3.json
    python tools/model_converters/convert_sentencepiece.py spiece.model checkpoints/t5.json --ids t5

Ids are XLM-R's: ``<s>`` 0, ``<pad>`` 1, ``</s>`` 2, ``<unk>`` 3, every other piece its id in the
model plus 1, ``<mask>`` last. With ``--ids t5`` they are the model's own, ``<pad>`` 0, ``</s>`` 1,
``<unk>`` 2, and behind them ``<extra_id_99>`` to ``<extra_id_0>``. Needs the packages sentencepiece
and protobuf; reading the result doesn't.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE, Unigram

from uniadapter.models import t5_tokenizer as t5
from uniadapter.models.base_tokenizer import TextTokenizer
from uniadapter.models.library_tokenizer import library_errors
from uniadapter.models.sentencepiece_tokenizer import (
    FIRST_TOKENS,
    MASK_TOKEN,
    SentencePieceTokenizer,
)
from uniadapter.utils.errors import one_message
from uniadapter.utils.safe_io import atomic_write

_UNIGRAM, _BPE = 1, 2
_NORMAL, _UNKNOWN, _CONTROL = 1, 2, 3
_BLANK = "\u2581"


class Ids(NamedTuple):
    """Which ids a backbone gives a model's pieces.

    Attributes:
        first: Tokens in front, in the place of the model's first three.
        kinds: What those three must be.
        words: The same for an error.
        last: Tokens behind the pieces.
        reader: Who reads the result.
    """

    first: tuple[str, ...]
    kinds: tuple[int, int, int]
    words: str
    last: tuple[str, ...]
    reader: type[TextTokenizer]


XLMR = Ids(
    FIRST_TOKENS,
    (_UNKNOWN, _CONTROL, _CONTROL),
    "<unk>, <s> and </s>, as XLM-R's rule for ids",
    (MASK_TOKEN,),
    SentencePieceTokenizer,
)
T5 = Ids(
    t5.FIRST_TOKENS,
    (_CONTROL, _CONTROL, _UNKNOWN),
    "<pad>, </s> and <unk>, as --ids t5",
    tuple(f"<extra_id_{number}>" for number in reversed(range(100))),
    t5.T5Tokenizer,
)
IDS = {"xlmr": XLMR, "t5": T5}


def read_model(path: Path, ids: Ids = XLMR) -> Any:
    """Read a sentencepiece model as protobuf message.

    Args:
        path: The file.
        ids: Those that it is to get.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When a package is missing, or the file is no such model.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: name a sentencepiece model (.spm).")
    try:
        from google.protobuf.message import DecodeError
        from sentencepiece.sentencepiece_model_pb2 import ModelProto
    except ImportError as error:
        raise ValueError(
            f"Converting needs the packages sentencepiece and protobuf ({error}): pip install "
            "sentencepiece protobuf."
        ) from error
    model = ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise ValueError(f"{path} is no sentencepiece model ({error}).") from error
    first = tuple(piece.type for piece in model.pieces[:3])
    if first != ids.kinds:
        raise ValueError(
            f"{path} is no sentencepiece model whose first pieces are {ids.words} supposes."
        )
    kind = model.trainer_spec.model_type
    if kind not in (_UNIGRAM, _BPE) or model.trainer_spec.byte_fallback:
        raise ValueError(
            f"{path} has model_type {kind} and byte_fallback="
            f"{model.trainer_spec.byte_fallback}: unigram and bpe models without byte fallback "
            "can be converted."
        )
    return model


def _merges(pieces: list[tuple[str, float]]) -> list[tuple[str, str]]:
    """Pairs of pieces that become another piece, those that are merged first in front."""
    ranks = {piece: rank for rank, (piece, _) in enumerate(pieces)}
    found = []
    for piece, score in pieces:
        splits = [(piece[:at], piece[at:]) for at in range(1, len(piece))]
        both = [(left, right) for left, right in splits if left in ranks and right in ranks]
        found += [
            (-score, ranks[piece], ranks[left], ranks[right], left, right) for left, right in both
        ]
    return [(left, right) for *_, left, right in sorted(found)]


def build_tokenizer(model: Any, ids: Ids = XLMR) -> Tokenizer:
    """Make the tokenizer of a sentencepiece model.

    Args:
        model: Message of :func:`read_model`.
        ids: Those that its pieces get.
    """
    pieces = [(piece.piece, piece.score) for piece in model.pieces[3:]]
    special = (*ids.first, *ids.last)
    rows = [
        *((token, 0.0) for token in ids.first),
        *pieces,
        *((token, 0.0) for token in ids.last),
    ]
    if model.trainer_spec.model_type == _UNIGRAM:
        tokenizer = Tokenizer(Unigram(rows, unk_id=ids.first.index("<unk>")))
    else:
        numbers = {piece: index for index, (piece, _) in enumerate(rows)}
        tokenizer = Tokenizer(BPE(numbers, _merges(pieces), unk_token="<unk>", fuse_unk=True))
    spec = model.normalizer_spec
    steps: list[Any] = []
    if spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(spec.precompiled_charsmap))
    if spec.remove_extra_whitespaces:
        steps += [
            normalizers.Strip(left=True, right=True),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    if spec.add_dummy_prefix:
        # Not by the pre-tokenizer, which puts none in front of a blank that is there already.
        steps.append(normalizers.Prepend(" "))
    if steps:
        tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(_BLANK, prepend_scheme="never")
    tokenizer.decoder = decoders.Metaspace(_BLANK, prepend_scheme="always")
    # Split off before anything else, as XLM-R's tokenizer does with a token that is written out.
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    return tokenizer


def convert(src: str | Path, dst: str | Path, ids: str = "xlmr") -> int | None:
    """Write the ``tokenizer.json`` of a sentencepiece model.

    Args:
        src (str | Path): The model.
        dst (str | Path): File to write (.json).
        ids (str): Name of the ids, ``'xlmr'`` or ``'t5'``.

    Returns:
        int: Number of ids.

    Raises:
        FileNotFoundError: When there is no such model.
        ValueError: When it can't be converted, or ``dst`` is no .json.
    """
    if Path(dst).suffix != ".json":
        raise ValueError(f"{dst}: a tokenizer is written as JSON, name a .json file.")
    rule: Any = IDS[ids]
    model = read_model(Path(src), rule)
    with library_errors(src, "copy it again"):
        content = build_tokenizer(model, rule).to_str().encode()
    with tempfile.TemporaryDirectory() as folder:
        # What can't be read is not left behind.
        made = Path(folder) / Path(dst).name
        made.write_bytes(content)
        try:
            size: int | None = rule.reader(str(made)).vocab_size
        except ValueError as error:
            said = str(error).replace(str(made), "its tokenizer")
            raise ValueError(f"{src} can't be converted: {said}") from error
    atomic_write(dst, content)
    return size


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Convert as the command line says."""
    parser = argparse.ArgumentParser(description="Convert a sentencepiece model.")
    parser.add_argument("src", help="sentencepiece model (.spm)")
    parser.add_argument("dst", help="tokenizer.json to write")
    parser.add_argument("--ids", choices=sorted(IDS), default="xlmr", help="whose ids (xlmr)")
    args = parser.parse_args(argv)
    try:
        size = convert(args.src, args.dst, args.ids)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{args.dst}: {size} ids")


if __name__ == "__main__":
    main()
