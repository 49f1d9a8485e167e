"""Scores of answers, as LXMERT's and VL-T5's question files have them."""

from __future__ import annotations

from typing import Any

from ..utils.json_files import brief


def read_scores(entry: dict[str, Any], where: str) -> dict[str, float] | None:
    """The scores of a question's answers, ``entry['label']``.

    Args:
        entry: One annotation.
        where: File and position, for the error.

    Returns:
        The score of each answer, from 0 to 1; None where the entry has no ``label``.

    Raises:
        ValueError: When it is no object of answers and scores, or a score is out of range.
    """
    label = entry.get("label")
    if "label" not in entry:
        return None
    if not isinstance(label, dict):
        raise ValueError(
            f"{where}: 'label' must be an object of answers and scores, got {type(label).__name__}."
        )
    for answer, score in label.items():
        number = isinstance(score, int | float) and not isinstance(score, bool)
        if not number or not 0 <= score <= 1:
            raise ValueError(
                f"{where}: the score of {answer!r} must be a number from 0 to 1, got "
                f"{brief(score)}."
            )
    return {answer: float(score) for answer, score in label.items()}
