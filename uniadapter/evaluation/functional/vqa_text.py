"""The normal form of an answer in the VQA evaluation protocol.

The protocol compares answers after lower-casing them, taking out the punctuation and the articles,
writing number words as digits and putting back apostrophes that a contraction lacks. The details
below, odd ones included, are those of the published evaluation, as a figure is only comparable when
computed with them; ``docs/vqa_metrics.md`` lists the odd ones.
"""

from __future__ import annotations

import re

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_ARTICLES = frozenset({"a", "an", "the"})
_NUMBER_WORDS = {
    word: str(number)
    for number, word in enumerate(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"],
    )
} | {"none": "0"}

# The right spellings. An answer that lacks exactly one of the apostrophes is given it back; words
# that are words without it ("its", "were", "shed", "id") are not among them.
_CONTRACTIONS = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
    haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't
    mightn't've might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've
    should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've
    someone'll someone's something'd something'd've something'll that's there'd there'd've there're
    there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll
    what're what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll
    why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll
    you're you've
"""


def _apostrophes() -> dict[str, str]:
    """Each contraction under every spelling that lacks one of its apostrophes."""
    table = {
        form[:at] + form[at + 1 :]: form
        for form in _CONTRACTIONS.split()
        for at, letter in enumerate(form)
        if letter == "'"
    }
    # The published table has this one the other way round.
    table["somebody'd"] = "somebodyd"
    return table


_APOSTROPHES = _apostrophes()
_DIGIT_COMMA_DIGIT = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
# The published code hands a flag of its regular expression to where a count is read.
_PERIODS_TAKEN_OUT = int(re.UNICODE)


def strip_punctuation(text: str) -> str:
    """Take the punctuation out of an answer.

    A mark disappears where it stands beside a space somewhere in the answer, and everywhere when
    the answer has a comma between digits (``'100,978'`` becomes ``'100978'``); otherwise it becomes
    a space (``'black-and-white'`` becomes ``'black and white'``). A period stays only before a
    digit, or after the 32nd that was taken out. Apostrophes and colons stay.

    Args:
        text: The answer.

    Returns:
        The answer, in the letter case it had.
    """
    has_number = _DIGIT_COMMA_DIGIT.search(text) is not None
    result = text
    for mark in _PUNCTUATION:
        beside_space = f"{mark} " in text or f" {mark}" in text
        result = result.replace(mark, "" if has_number or beside_space else " ")
    return _PERIOD.sub("", result, count=_PERIODS_TAKEN_OUT)


def normalise_words(text: str) -> str:
    """Lower-case an answer, write its number words as digits, drop articles, mend contractions.

    Args:
        text: The answer without its punctuation.

    Returns:
        The words that are left, one space between them.
    """
    words = (_NUMBER_WORDS.get(word, word) for word in text.lower().split())
    return " ".join(_APOSTROPHES.get(word, word) for word in words if word not in _ARTICLES)


def clean_answer(text: str) -> str:
    """The form in which answers are compared when no normalisation applies.

    Args:
        text: The answer.

    Returns:
        The answer on one line, without space at its ends.
    """
    return text.replace("\n", " ").replace("\t", " ").strip()


def normalise_answer(text: str) -> str:
    """Normal form of an answer in the VQA protocol.

    Args:
        text: The answer, a prediction or an annotator's.

    Returns:
        Its normal form, e.g. ``'2 dogs'`` for ``'The two dogs.'``; may be empty.
    """
    return normalise_words(strip_punctuation(clean_answer(text)))
