"""Questions in the files of LXMERT: soft scores of answers that are classes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from .files import write_json
from .language import COLORS, SHAPES, SYNONYMS, WALLS
from .questions import KINDS

#: Score of an answer by how many of the ten annotators gave it.
SCORES = (0.0, 0.3, 0.6, 0.9, 1.0)


def answer_classes() -> list[str]:
    """Every answer of the world in alphabetical order, synonyms included."""
    plain = {word for kind in KINDS for word in kind}
    synonyms = {SYNONYMS[word] for word in (*COLORS, *SHAPES, *WALLS)}
    return sorted(plain | synonyms)


def lxmert_row(question: dict[str, Any], annotation: dict[str, Any], image: str) -> dict[str, Any]:
    """An official question and its annotation as one entry.

    Args:
        question: Of an official question file.
        annotation: Of the annotations beside it.
        image: Name of the picture.
    """
    counts = Counter(answer["answer"] for answer in annotation["answers"])
    return {
        "img_id": image,
        "question_id": question["question_id"],
        "sent": question["question"],
        "label": {
            answer: SCORES[min(number, len(SCORES) - 1)] for answer, number in counts.items()
        },
        "answer_type": annotation["answer_type"],
        "question_type": annotation["question_type"],
    }


def write_tables(out: Path) -> None:
    """The answers by their classes, and the other way round."""
    answers = answer_classes()
    write_json(out / "trainval_label2ans.json", answers)
    write_json(
        out / "trainval_ans2label.json", {answer: index for index, answer in enumerate(answers)}
    )
