"""CLIP's published file of merges, of which its vocabulary is made."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path

from tokenizers import pre_tokenizers

#: Name, bytes and digest of the file of openai/CLIP, which open_clip_torch ships.
NAME = "bpe_simple_vocab_16e6.txt.gz"
_SIZE = 1_356_917
_SHA256 = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
# The file has more merges than CLIP uses: 49,152 words less 256 bytes and two marks.
_MERGES = 49_152 - 256 - 2
_REMEDY = (
    f"the published file is open_clip/{NAME} in the wheel of open_clip_torch "
    "(pip download --no-deps open_clip_torch)"
)


def read_merges(path: Path) -> list[str]:
    """Lines of merges in order, two pieces each, of a text file or a compressed one.

    Args:
        path: The file. One of the published name must be the published one.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged, another one of its name, or no text.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: {_REMEDY}.")
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if path.name == NAME and digest != _SHA256:
        raise ValueError(
            f"{path} is not the published file: {len(data):,} bytes, SHA-256 {digest[:12]}..., and "
            f"that has {_SIZE:,}, {_SHA256[:12]}...: {_REMEDY}; give merges of your own another "
            "name."
        )
    try:
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        lines = data.decode("utf-8").split("\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged ({error}): {_REMEDY}.") from error
    # The first line says the version.
    first = 1 if lines[0].startswith(("#", '"')) else 0
    return [line for line in lines[first:] if line][:_MERGES]


def words_of_merges(merges: list[tuple[str, str]], suffix: str, marks: list[str]) -> dict[str, int]:
    """Words with their ids: bytes, bytes that end a word, what merges make, marks.

    Args:
        merges: Pairs of pieces in order.
        suffix: What ends a word.
        marks: The last words.
    """
    letters = byte_letters()
    words = [*letters, *(letter + suffix for letter in letters), *(a + b for a, b in merges)]
    return {word: index for index, word in enumerate([*words, *marks])}


def byte_letters() -> list[str]:
    """The characters that stand for bytes, in the order of CLIP's vocabulary.

    First those of printable bytes, which are themselves, then those of the others.
    """
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    return [x for x in letters if ord(x) < 256] + [x for x in letters if ord(x) >= 256]
