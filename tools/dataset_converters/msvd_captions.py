"""Write MSVD's captions, raw-captions.pkl, as JSON; nothing in the pickle is run.

    python tools/dataset_converters/msvd_captions.py data/msvd/raw-captions.pkl

writes data/msvd/raw-captions.json: an object of lists of captions by video, the words of a caption
joined by blanks. Captions without a word are left out and counted.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from uniadapter.utils.errors import one_message
from uniadapter.utils.json_files import json_text
from uniadapter.utils.plain_pickle import read_plain_pickle
from uniadapter.utils.safe_io import atomic_write


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pickle", type=Path, help="raw-captions.pkl")
    parser.add_argument("out", type=Path, nargs="?", help="default: the same name with .json")
    args = parser.parse_args(argv)
    # A folder's name may have no end to replace; reading it says what it is.
    args.out = args.out or Path(f"{args.pickle.parent / args.pickle.stem}.json")
    if args.out.resolve() == args.pickle.resolve():
        parser.error(f"{args.out} is the pickle and would be overwritten: name another file")
    return args


def text_of(value: Any, where: str) -> str:
    """A string, or bytes of UTF-8, as Python 2 wrote its strings.

    Raises:
        ValueError: If it is neither.
    """
    if isinstance(value, bytes | bytearray):
        try:
            return bytes(value).decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{where}: bytes that are no UTF-8 ({error})") from error
    if not isinstance(value, str):
        raise ValueError(f"{where}: a word is a string, got {type(value).__name__}: {value!r}")
    return value


def captions_of(content: Any, path: Path) -> tuple[dict[str, list[str]], int]:
    """Captions by video, and how many had no word.

    Args:
        content: What the pickle holds: lists of words in lists by video.
        path: Where it comes from, for errors.

    Raises:
        ValueError: If it is anything else, two names are one, or a video has no caption.
    """
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path}: a dictionary of captions by video is expected")
    found: dict[str, list[str]] = {}
    empty = 0
    for key, captions in content.items():
        name = text_of(key, f"{path}: a video")
        where = f"{path}: video {name!r}"
        if name in found:
            raise ValueError(f"{where} stands twice, as text and as bytes")
        if not isinstance(captions, list | tuple):
            raise ValueError(f"{where}: a list of captions is expected, got {captions!r:.80}")
        found[name] = []
        for index, words in enumerate(captions):
            if not isinstance(words, list | tuple):
                raise ValueError(f"{where}: caption {index} is no list of words: {words!r:.80}")
            caption = " ".join(text_of(word, f"{where}: caption {index}") for word in words)
            if caption.strip():
                found[name].append(caption)
            else:
                empty += 1
        if not found[name]:
            raise ValueError(f"{where} has no caption with a word")
    return found, empty


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Convert."""
    args = parse_args(argv)
    try:
        captions, empty = captions_of(read_plain_pickle(args.pickle), args.pickle)
        atomic_write(args.out, json_text(captions, indent=0).encode())
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    count = sum(len(texts) for texts in captions.values())
    left = f"; {empty} captions without a word were left out" if empty else ""
    print(f"{args.out}: {len(captions):,} videos, {count:,} captions{left}")


if __name__ == "__main__":
    main()
