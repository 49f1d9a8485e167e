"""Captions and questions before the tokenizer."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from mmcv.transforms import BaseTransform

from ...registry import TRANSFORMS

_PUNCTUATION = re.compile(r"[.!\"()*#:;~]")
_ALBEF_PUNCTUATION = re.compile(r"[,.'!?\"()*#:;~]")
_ALBEF_BLANKS = re.compile(r"[-/]")
#: Whose cleaning a text gets.
STYLES = ("blip", "albef")


def _first_words(text: str, cleaned: str, max_words: int) -> str:
    """The first words of a cleaned text; the text itself where cleaning left nothing.

    An empty text says nothing about its medium.
    """
    return " ".join(cleaned.split()[:max_words]) or text.strip()


def _clean_as_albef(text: str) -> str:
    """Take ``, . ' ! ? " ( ) * # : ; ~`` out, put blanks for ``-`` and ``/``, in lower case."""
    cleaned = _ALBEF_BLANKS.sub(" ", _ALBEF_PUNCTUATION.sub("", text.lower()))
    # How annotations of videos write people whose names were taken out.
    return cleaned.replace("<person>", "person")


def clean_caption(text: str, max_words: int, style: str = "blip") -> str:
    """Clean one caption the way a backbone's captions were.

    ``'blip'``: lower case, and the characters ``. ! " ( ) * # : ; ~`` become spaces. ``'albef'``:
    lower case, the characters ``, . ' ! ? " ( ) * # : ; ~`` are taken out without leaving a space,
    ``-`` and ``/`` become spaces, ``<person>`` is ``person``. In both runs of white space become
    one space, and only the first ``max_words`` words stay. A caption of nothing but such characters
    is kept as it is: an empty text says nothing about its medium.
    """
    cleaned = _clean_as_albef(text) if style == "albef" else _PUNCTUATION.sub(" ", text.lower())
    return _first_words(text, cleaned, max_words)


def _check(name: str, max_words: int, style: str) -> None:
    if max_words < 1:
        raise ValueError(f"{name}: max_words must be at least 1, got {max_words}.")
    if style not in STYLES:
        raise ValueError(f"{name}: style={style!r} is unknown: choose from {list(STYLES)}.")


@TRANSFORMS.register_module()
class CleanCaption(BaseTransform):
    """Clean ``text`` (training) or every one of ``texts`` (testing), see :func:`clean_caption`.

    Args:
        max_words: Words kept. BLIP and ALBEF keep 30; a paragraph needs more.
        prefix: Put before every caption, for instance ``'a video of '``.
        style: ``'blip'`` or ``'albef'``.

    Attributes:
        of_text: Whether it changes texts alone.

    Raises:
        ValueError: If ``max_words`` is below 1 or there is no such style.
    """

    of_text = True

    def __init__(self, max_words: int = 30, prefix: str = "", style: str = "blip") -> None:
        _check("CleanCaption", max_words, style)
        self.max_words = max_words
        self.prefix = prefix
        self.style = style

    def _clean(self, text: str) -> str:
        return self.prefix + clean_caption(text, self.max_words, self.style)

    def transform(self, results: dict) -> dict:
        """Replace the captions by their cleaned form."""
        if "text" in results:
            results["text"] = self._clean(results["text"])
        if "texts" in results:
            results["texts"] = [self._clean(text) for text in results["texts"]]
        return results

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(max_words={self.max_words}, prefix={self.prefix!r}, "
            f"style={self.style!r})"
        )


def clean_question(text: str, max_words: int, style: str = "blip") -> str:
    """Clean one question the way a backbone's questions were.

    ``'blip'``: lower case, the characters ``. ! " ( ) * # : ; ~`` are taken out without leaving a
    space, the question mark stays. ``'albef'``: as its captions, see :func:`clean_caption`. Only
    the first ``max_words`` words stay. A question of nothing but such characters is kept as it is.
    """
    cleaned = _clean_as_albef(text) if style == "albef" else _PUNCTUATION.sub("", text.lower())
    return _first_words(text, cleaned, max_words)


@TRANSFORMS.register_module()
class CleanQuestion(BaseTransform):
    """Clean the question in ``text``, see :func:`clean_question`.

    Args:
        max_words: Words kept; BLIP keeps 30.
        style: ``'blip'`` or ``'albef'``.

    Attributes:
        of_text: Whether it changes texts alone.

    Raises:
        ValueError: If ``max_words`` is below 1 or there is no such style.
    """

    of_text = True

    def __init__(self, max_words: int = 30, style: str = "blip") -> None:
        _check("CleanQuestion", max_words, style)
        self.max_words = max_words
        self.style = style

    def transform(self, results: dict) -> dict:
        """Replace the question by its cleaned form."""
        results["text"] = clean_question(results["text"], self.max_words, self.style)
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(max_words={self.max_words}, style={self.style!r})"


@TRANSFORMS.register_module()
class HideWord(BaseTransform):
    """Make a question of the caption in ``text``: one word becomes ``[MASK]``, and is the answer.

    The word is drawn among those of the caption that are listed. Added keys: ``answers`` and
    ``answer_weights``, that word with the weight 1.

    Args:
        words: Words that may be hidden.

    Raises:
        ValueError: If no word is listed, or, in use, the caption has none of them.
    """

    def __init__(self, words: Sequence[str]) -> None:
        if isinstance(words, str) or not words:
            raise ValueError(f"HideWord: words takes a list of at least one word, got {words!r}.")
        self.words = frozenset(words)

    def transform(self, results: dict) -> dict:
        """Hide a word."""
        said = results["text"].split()
        places = [place for place, word in enumerate(said) if word in self.words]
        if not places:
            raise ValueError(
                f"HideWord: the caption {results['text']!r} of {results.get('media_path')} has "
                f"none of {sorted(self.words)[:5]} and so on: list words that all captions have."
            )
        place = random.choice(places)
        results["answers"], results["answer_weights"] = [said[place]], [1.0]
        results["text"] = " ".join([*said[:place], "[MASK]", *said[place + 1 :]])
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(words={sorted(self.words)})"
