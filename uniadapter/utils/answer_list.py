"""Lists of candidate answers: reading them, and building them from training answers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmengine.fileio import load


def read_answer_list(source: str | Path | Sequence[str]) -> list[str]:
    """Read a list of candidate answers.

    Args:
        source (str | Path | Sequence[str]): The answers or a JSON file that holds them.

    Returns:
        list[str]: The answers in their order.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the list is empty, or an answer is blank, no text or stands in it twice.
    """
    name = "answer_list"
    if isinstance(source, str | Path):
        name = str(source)
        if not Path(source).is_file():
            raise FileNotFoundError(
                f"{source} does not exist: set model.answer_list to a JSON list of answers; "
                "tools/dataset_converters/build_answer_list.py writes one."
            )
        try:
            source = load(str(source))
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{name}: line {error.lineno}: not valid JSON ({error.msg})."
            ) from None
    if not isinstance(source, list | tuple) or not source:
        raise ValueError(f"{name} must be a list with at least one answer.")
    answers = list(source)
    for index, answer in enumerate(answers):
        if not isinstance(answer, str) or not answer.strip():
            raise ValueError(f"{name}[{index}]={answer!r} is no answer: write a text.")
    if len(set(answers)) != len(answers):
        twice = sorted(answer for answer, count in Counter(answers).items() if count > 1)[:3]
        raise ValueError(f"{name} holds answers twice, such as {twice}: name each once.")
    return answers


def rank_answers_by_count(
    answers: Iterable[str], top: int | None = None, min_count: int = 1
) -> list[str]:
    """Candidate answers from training answers, the frequent ones first.

    Args:
        answers (Iterable[str]): Training answers, repeats and all; blank ones don't count.
        top (int, optional): Keep this many; None keeps all.
        min_count (int): Keep those that were given at least this often. Defaults to 1.

    Returns:
        list[str]: The answers by falling count, equally frequent ones by the alphabet.

    Raises:
        ValueError: If an option is below 1, or no answer is left.
    """
    if min_count < 1 or (top is not None and top < 1):
        raise ValueError(f"top={top} and min_count={min_count} must be at least 1.")
    counts = Counter(answer.strip() for answer in answers if answer.strip())
    kept = [answer for answer, count in counts.items() if count >= min_count]
    kept.sort(key=lambda answer: (-counts[answer], answer))
    if not kept:
        raise ValueError(
            f"No answer is left of {len(counts)} different ones: every one was given less than "
            f"min_count={min_count} times."
        )
    return kept[:top]
