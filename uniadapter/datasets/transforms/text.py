"""Captions and questions before the tokenizer."""

from __future__ import annotations

import re

from mmcv.transforms import BaseTransform

from ...registry import TRANSFORMS

_PUNCTUATION = re.compile(r"[.!\"()*#:;~]")


def clean_caption(text: str, max_words: int) -> str:
    """Clean one caption the way BLIP's captions were.

    Lower case, the characters ``. ! " ( ) * # : ; ~`` become spaces, runs of white space become
    one space, and only the first ``max_words`` words stay. A caption of nothing but such
    characters is kept as it is: an empty text says nothing about its medium.
    """
    words = _PUNCTUATION.sub(" ", text.lower()).split()
    return " ".join(words[:max_words]) or text.strip()


@TRANSFORMS.register_module()
class CleanCaption(BaseTransform):
    """Clean ``text`` (training) or every one of ``texts`` (testing), see :func:`clean_caption`.

    Args:
        max_words: Words kept. BLIP keeps 30; a paragraph needs more.
        prefix: Put before every caption, for instance ``'a video of '``.
    """

    def __init__(self, max_words: int = 30, prefix: str = "") -> None:
        if max_words < 1:
            raise ValueError(f"CleanCaption: max_words must be at least 1, got {max_words}.")
        self.max_words = max_words
        self.prefix = prefix

    def transform(self, results: dict) -> dict:
        """Replace the captions by their cleaned form."""
        if "text" in results:
            results["text"] = self.prefix + clean_caption(results["text"], self.max_words)
        if "texts" in results:
            results["texts"] = [
                self.prefix + clean_caption(text, self.max_words) for text in results["texts"]
            ]
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(max_words={self.max_words}, prefix={self.prefix!r})"


def clean_question(text: str, max_words: int) -> str:
    """Clean one question the way BLIP's questions were.

    Lower case, the characters ``. ! " ( ) * # : ; ~`` are taken out without leaving a space, the
    question mark stays, and only the first ``max_words`` words stay. A question of nothing but such
    characters is kept as it is.
    """
    words = _PUNCTUATION.sub("", text.lower()).split()
    return " ".join(words[:max_words]) or text.strip()


@TRANSFORMS.register_module()
class CleanQuestion(BaseTransform):
    """Clean the question in ``text``, see :func:`clean_question`.

    Args:
        max_words: Words kept; BLIP keeps 30.
    """

    def __init__(self, max_words: int = 30) -> None:
        if max_words < 1:
            raise ValueError(f"CleanQuestion: max_words must be at least 1, got {max_words}.")
        self.max_words = max_words

    def transform(self, results: dict) -> dict:
        """Replace the question by its cleaned form."""
        results["text"] = clean_question(results["text"], self.max_words)
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(max_words={self.max_words})"
