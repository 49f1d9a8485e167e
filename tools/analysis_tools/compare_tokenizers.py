"""Count where the Python caption tokenizer and pycocoevalcap's Java one differ on lines of text."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from difflib import SequenceMatcher
from pathlib import Path

from uniadapter.evaluation.functional import tokenize_caption
from uniadapter.utils.arguments import whole
from uniadapter.utils.errors import one_message


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", help="text files; every line is taken for a caption")
    parser.add_argument("--show", type=whole(0), default=20, help="how many differences to print")
    return parser.parse_args(argv)


def read_lines(files: Sequence[str]) -> list[str]:
    """Read the distinct lines of some files that hold a word.

    Args:
        files: Text files in UTF-8.

    Returns:
        The lines in order, with single spaces.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If a file is no text, or there is no line.
    """
    lines: dict[str, None] = {}
    for name in files:
        try:
            text = Path(name).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{name} is no UTF-8 text: {error}") from error
        spaced = (" ".join(line.split()) for line in text.splitlines())
        lines.update(dict.fromkeys(line for line in spaced if any(map(str.isalpha, line))))
    if not lines:
        raise ValueError(f"{', '.join(files)} hold no line with a word")
    return list(lines)


def java_tokens(lines: Sequence[str]) -> list[list[str]]:
    """Tokens of pycocoevalcap's tokenizer, punctuation removed.

    Args:
        lines: The captions.

    Returns:
        The tokens of every caption.

    Raises:
        FileNotFoundError: If there is no Java.
    """
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    if shutil.which("java") is None:
        raise FileNotFoundError("the comparison needs Java, and there is no 'java' on the PATH")
    tokenized = PTBTokenizer().tokenize({0: [{"caption": line} for line in lines]})[0]
    return [text.split() for text in tokenized]


@one_message()
def main(argv: list[str] | None = None) -> None:
    """Print the differences and their share of all tokens."""
    args = parse_args(argv)
    try:
        lines = read_lines(args.files)
        java = java_tokens(lines)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    differing_lines = differing_tokens = 0
    for line, theirs in zip(lines, java, strict=True):
        ours = tokenize_caption(line).split()
        if ours == theirs:
            continue
        differing_lines += 1
        for kind, a, b, c, d in SequenceMatcher(None, theirs, ours, False).get_opcodes():
            if kind != "equal":
                differing_tokens += max(b - a, d - c)
                if differing_lines <= args.show:
                    print(f"java {' '.join(theirs[a:b])!r}  python {' '.join(ours[c:d])!r}")
    total = sum(map(len, java))
    print(
        f"{differing_lines} of {len(lines)} lines and {differing_tokens} of {total} tokens differ "
        f"({100 * differing_tokens / max(total, 1):.3f} %)"
    )


if __name__ == "__main__":
    main()
