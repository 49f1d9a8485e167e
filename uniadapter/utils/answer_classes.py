"""Lists of answers that are classes: an answer's position is its class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .json_files import brief, parse_json
from .paths import find_file


def _read(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: it is the list of answers, such as trainval_label2ans.json "
            "(docs/unipt_clip_vil.md)."
        )
    try:
        return parse_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}): copy it again.") from error


def read_answer_classes(source: str | Path | Sequence[str]) -> list[str]:
    """Answers in the order of their classes.

    Args:
        source (str | Path | Sequence[str]): The answers, or their JSON file: a list (such as
            ``trainval_label2ans.json``).

    Returns:
        list[str]: Different answers, as they are written.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no list of strings, or an answer stands in it twice.
    """
    named = isinstance(source, str | Path)
    answers = _read(find_file(source)) if isinstance(source, str | Path) else list(source)
    where = str(source) if named else "The list of answers"
    if not isinstance(answers, list) or not answers:
        raise ValueError(f"{where}: a list of answers is expected, got {_words(answers)}.")
    seen: dict[str, int] = {}
    for index, answer in enumerate(answers):
        if not isinstance(answer, str):
            raise ValueError(f"{where}: entry {index} is {brief(answer)}, no text.")
        if answer in seen:
            raise ValueError(
                f"{where}: entry {index}, {answer!r}, stands at {seen[answer]} already: an answer "
                "is one class."
            )
        seen[answer] = index
    return answers


def read_answer_table(path: str | Path, answers: Sequence[str], names: str | Path) -> None:
    """Hold the table of an answer's class against the list of the classes' answers.

    Args:
        path (str | Path): JSON file ``{answer: class}``, such as ``trainval_ans2label.json``.
        answers (Sequence[str]): What :func:`read_answer_classes` read.
        names (str | Path): Its file, for the error.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such table, or the two disagree.
    """
    table = _read(find_file(path))
    if not isinstance(table, dict):
        raise ValueError(f"{path}: an object {{answer: class}} is expected, got {_words(table)}.")
    for index, answer in enumerate(answers):
        found = table.get(answer)
        if found is None:
            raise ValueError(f"{path} lacks the answer {answer!r}, class {index} of {names}.")
        if found != index or isinstance(found, bool):
            raise ValueError(
                f"{path}: {answer!r} is class {brief(found)}, and {names} has it at {index}: the "
                "two files belong to different lists."
            )
    known = set(answers)
    more = next((answer for answer in table if answer not in known), None)
    if more is not None:
        raise ValueError(
            f"{path} has {len(table)} answers, such as {more!r}, and {names} has {len(answers)}: "
            "the two files belong to different lists."
        )


def _words(value: Any) -> str:
    return f"an empty {type(value).__name__}" if not value else type(value).__name__
