"""Accuracy of answers: the VQA protocol's and exact match."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from uniadapter.utils.words import words_of

from .vqa_text import clean_answer, normalise_answer, strip_punctuation

# So many of the other annotators must have given an answer for it to count fully.
_FULL_AGREEMENT = 3
# Fewer annotators could never agree that much once one of them is left out.
_MIN_ANNOTATORS = _FULL_AGREEMENT + 1
_VIDEO_QUESTION_WORDS = ("what", "who", "how", "when", "where")


def consensus_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """Accuracy of one answer against those of the annotators.

    Every annotator is left out in turn; the answer scores min(matches among the others / 3, 1), and
    the mean over the turns is its accuracy. All answers are normalised first, unless the
    annotators all gave the same one but for the white space at its ends.

    Args:
        prediction: The model's answer.
        answers: One answer an annotator, ten in VQAv2.

    Returns:
        Accuracy in [0, 1].

    Raises:
        ValueError: If there are fewer than four answers, with which no answer could score 1.
    """
    _check_annotators(answers)
    given = [clean_answer(answer) for answer in answers]
    normal_form = normalise_answer if len(set(given)) > 1 else clean_answer
    wanted = normal_form(prediction)
    return _leave_one_out([normal_form(answer) == wanted for answer in given])


def older_consensus_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """Accuracy of one answer in the older variant of the protocol, that of LXMERT and VL-T5.

    As :func:`consensus_accuracy`, but the prediction is always normalised, and of the annotators'
    answers only the punctuation is taken out, and that only if they are not all the same: letter
    case, number words and articles in them remain, so that some answers can't be matched.

    Args:
        prediction: The model's answer.
        answers: One answer an annotator, ten in VQAv2.

    Returns:
        Accuracy in [0, 1].

    Raises:
        ValueError: If there are fewer than four answers, with which no answer could score 1.
    """
    _check_annotators(answers)
    wanted = normalise_answer(prediction)
    same = len(set(answers)) == 1
    given = answers if same else [strip_punctuation(answer) for answer in answers]
    return _leave_one_out([answer == wanted for answer in given])


def _check_annotators(answers: Sequence[str]) -> None:
    if len(answers) < _MIN_ANNOTATORS:
        raise ValueError(
            f"VQA accuracy compares with the answers of ten annotators (at least {_MIN_ANNOTATORS})"
            f", got {len(answers)}: {list(answers)!r}. Use QAExactMatch where a question has one "
            "answer."
        )


def _leave_one_out(matches: Sequence[bool]) -> float:
    """Mean over the annotators of what the matches among the others are worth."""
    total = sum(matches)
    return sum(min((total - own) / _FULL_AGREEMENT, 1.0) for own in matches) / len(matches)


def exact_match(prediction: str, answer: str) -> bool:
    """Whether two answers are the same to an uncased tokenizer.

    Letter case, accents and blanks don't count, blanks beside punctuation included: a model that
    writes ``t - shirt`` has said ``t-shirt``, as it can't write it in another way.

    Args:
        prediction: The model's answer.
        answer: The right answer.
    """
    return words_of(prediction) == words_of(answer)


def video_question_type(question: str) -> str:
    """Type of a MSRVTT-QA question: its first word.

    Args:
        question: The question.

    Returns:
        ``'what'``, ``'who'``, ``'how'``, ``'when'``, ``'where'``, or ``'other'`` for any other.
    """
    words = question.lower().split(maxsplit=1)
    first = words[0].strip("?.,!'\"") if words else ""
    return first if first in _VIDEO_QUESTION_WORDS else "other"


def mean_by_group(scores: Iterable[float], groups: Iterable[str]) -> dict[str, float]:
    """Mean score of each group.

    Args:
        scores: One score a sample.
        groups: The group of each sample.

    Returns:
        The mean of every group that occurs, groups in alphabetical order.

    Raises:
        ValueError: If the two differ in length.
    """
    members: dict[str, list[float]] = defaultdict(list)
    for score, group in zip(scores, groups, strict=True):
        members[group].append(score)
    return {group: sum(members[group]) / len(members[group]) for group in sorted(members)}
