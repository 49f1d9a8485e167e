"""Lists of candidate answers: reading them, and building them from training answers.

Answers are compared by what the tokenizer makes of them (:func:`.words.words_of`): ``yes`` and
``Yes``, ``t-shirt`` and ``t - shirt``, ``café`` and ``cafe`` are one answer to a model.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path

from .json_files import brief, parse_json
from .paths import find_file
from .words import words_of


def read_answer_list(
    source: str | Path | Sequence[str], key: Callable[[str], Hashable] = words_of
) -> list[str]:
    """Read a list of candidate answers.

    Args:
        source (str | Path | Sequence[str]): The answers or a JSON file that holds them.
        key (Callable): What two answers must not share. Defaults to their words; who knows the
            vocabulary names the tokens.

    Returns:
        list[str]: The answers in their order, spelled as they stand there.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the list is empty, an answer is blank or no text, or two answers have the
            same tokens: neither training nor ranking could tell them apart.
    """
    name = "answer_list"
    if isinstance(source, str | Path):
        name = str(source)
        source = _load_list(source)
    if not isinstance(source, list | tuple) or not source:
        raise ValueError(f"{name} must be a list with at least one answer.")
    first: dict[Hashable, int] = {}
    for index, answer in enumerate(source):
        if not isinstance(answer, str) or not words_of(answer):
            raise ValueError(f"{name}[{index}]={brief(answer)} is no answer: write a text.")
        other = first.setdefault(key(answer), index)
        if other != index:
            raise ValueError(
                f"{name} holds answers twice: [{other}]={source[other]!r} and "
                f"[{index}]={answer!r} have the same tokens, so that no model can tell them "
                "apart. Remove one; tools/dataset_converters/build_answer_list.py counts them "
                "together."
            )
    return list(source)


def drop_twins(
    answers: Sequence[str], key: Callable[[str], Hashable]
) -> tuple[list[str], list[tuple[str, str]]]:
    """Leave out answers whose tokens an earlier one has.

    Args:
        answers (Sequence[str]): The answers.
        key (Callable): What two answers must not share.

    Returns:
        tuple: The answers that stay, and what was left out, each after the answer it equals.
    """
    kept: dict[Hashable, str] = {}
    left_out = []
    for answer in answers:
        tokens = key(answer)
        if tokens in kept:
            left_out.append((kept[tokens], answer))
        else:
            kept[tokens] = answer
    return list(kept.values()), left_out


def _load_list(path: str | Path) -> list[str]:
    file = find_file(path)
    if not file.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: set model.answer_list to a JSON list of answers; "
            "tools/dataset_converters/build_answer_list.py writes one."
        )
    try:
        return parse_json(file.read_bytes())
    except ValueError as error:
        line = f": line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise ValueError(
            f"{path}{line}: not valid JSON ({getattr(error, 'msg', error)})."
        ) from None


def count_answers(answers: Iterable[str]) -> dict[str, int]:
    """Count answers, those with the same words together.

    Args:
        answers (Iterable[str]): Answers, repeats and all; blank ones don't count.

    Returns:
        dict[str, int]: How often each was given, in the order of their first appearance and under
        the most frequent of its spellings (the first of them, where several are).
    """
    given = Counter(answer.strip() for answer in answers)
    spellings: dict[tuple[str, ...], list[str]] = {}
    for answer in given:
        if words := words_of(answer):
            spellings.setdefault(words, []).append(answer)
    return {
        max(same, key=given.__getitem__): sum(given[answer] for answer in same)
        for same in spellings.values()
    }


def rank_answers_by_count(
    answers: Iterable[str], top: int | None = None, min_count: int = 1
) -> list[str]:
    """Candidate answers from training answers, the frequent ones first.

    Args:
        answers (Iterable[str]): Training answers, counted as :func:`count_answers` does.
        top (int, optional): Keep this many; None keeps all.
        min_count (int): Keep those that were given at least this often. Defaults to 1.

    Returns:
        list[str]: The answers by falling count, equally frequent ones by the alphabet.

    Raises:
        ValueError: If an option is below 1, or no answer is left.
    """
    if min_count < 1 or (top is not None and top < 1):
        raise ValueError(f"top={top} and min_count={min_count} must be at least 1.")
    counts = count_answers(answers)
    kept = [answer for answer, count in counts.items() if count >= min_count]
    kept.sort(key=lambda answer: (-counts[answer], answer))
    if not kept:
        raise ValueError(
            f"No answer is left of {len(counts)} different ones: every one was given less than "
            f"min_count={min_count} times."
        )
    return kept[:top]
