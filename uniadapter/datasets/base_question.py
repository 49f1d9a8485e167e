"""What the question answering datasets share: items, weights of answers, and what is refused."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.logging import print_log

from ..utils.answer_list import count_answers, read_answer_list
from ..utils.words import words_of
from .base import BaseMediaDataset

_OUTSIDE = ("keep", "drop", "raise")


@dataclass
class Question:
    """A question about one medium, as an annotation file has it.

    Attributes:
        media: Name of the medium.
        question: The question.
        question_id: Its identifier, unique in the split.
        where: File and position, for errors.
        answers: What each annotator answered, repeats and all; None where the split has none.
        weight: Weight of all answers together; VQA's training gives an answer its share of it.
        question_type: Kind of the question, for figures by kind.
        answer_type: Kind of the answer, for figures by kind.
        prefix: Key of ``data_prefix`` whose folder holds the medium.
    """

    media: str
    question: str
    question_id: int | str
    where: str
    answers: list[str] | None = None
    weight: float = 1.0
    question_type: str | None = None
    answer_type: str | None = None
    prefix: str = "media"

    def shares(self) -> dict[str, float]:
        """Weight of each different answer that is not blank: its share of all annotators'.

        Answers that a tokenizer makes the same of (``yes`` and ``Yes``) are one.
        """
        given = self.answers or ()
        counts = count_answers(given)
        return {answer: self.weight * count / len(given) for answer, count in counts.items()}


class BaseQuestionDataset(BaseMediaDataset):
    """Questions about images or videos, an item each.

    A training item has ``text`` (the question), ``answers`` (the different ones) and
    ``answer_weights`` (each one's share of the annotators). A test item has ``text`` and, where the
    annotations have them, ``gt_answers`` (every annotator's), ``question_type`` and
    ``answer_type``. Both have ``question_id`` and ``question``, which stays as it was written.

    Answers are compared by what the tokenizer makes of them, with each other and with the list:
    ``yes``, ``Yes`` and ``YES`` are one answer with the weight of all three, spelled as in
    ``answer_list`` or, where it isn't there, as most annotators did.

    In training every question needs an answer. Blank answers among others get no weight, and how
    many there are is logged.

    Args:
        answer_list: Candidates of ``inference='rank'`` or their JSON file, to compare with; how
            many answers are not among them is logged. In testing nothing else happens: such a
            question can't be answered by ranking, and counts.
        outside: Training answers that are not in ``answer_list``: ``'keep'`` trains on them all
            the same (a decoder is not bound to a list), ``'drop'`` leaves them out, and with them
            questions that have no other, and ``'raise'`` makes the first one an error.
        **kwargs: See :class:`BaseMediaDataset`.

    Raises:
        ValueError: For an option outside its set, a question without answer in training, an
            identifier that repeats, or annotations that are incomplete; the message names file,
            position and key.
        FileNotFoundError: When a file or folder does not exist.
    """

    METAINFO: dict[str, Any] = {"task": "vqa"}

    def __init__(
        self,
        *args: Any,
        answer_list: str | Sequence[str] | None = None,
        outside: str = "keep",
        **kwargs: Any,
    ) -> None:
        if outside not in _OUTSIDE:
            raise ValueError(
                f"{type(self).__name__}: outside must be one of {_OUTSIDE}, got {outside!r}."
            )
        if outside != "keep" and answer_list is None:
            raise ValueError(
                f"{type(self).__name__}: outside={outside!r} needs an answer_list to compare with."
            )
        self.outside = outside
        # The candidates by their words, spelled as in the list.
        self._known = (
            None
            if answer_list is None
            else {words_of(answer): answer for answer in read_answer_list(answer_list)}
        )
        super().__init__(*args, **kwargs)

    @abstractmethod
    def load_questions(self) -> Iterable[Question]:
        """Read the annotations.

        Returns:
            The questions in the order of the file, validated but for what this class checks.
        """

    def load_data_list(self) -> list[dict]:
        """Return the items, one a question."""
        questions = list(self.load_questions())
        self._require_items(questions, "question")
        _refuse_repeated_ids(questions)
        media = self._media_of(questions)
        shares = [self._spelled(question.shares()) for question in questions]
        if self._known is not None:
            self._log_outside(shares)
        items = []
        for question, answers in zip(questions, shares, strict=True):
            item = {
                **media[question.prefix, question.media],
                "text": question.question,
                "question": question.question,
                "question_id": question.question_id,
            }
            if self.test_mode:
                items.append({**item, **_truth(question)})
                continue
            answers = self._training_answers(question, answers)
            if answers:
                weights = {"answers": list(answers), "answer_weights": list(answers.values())}
                items.append({**item, **weights})
        self._require_items(items, "question with an answer of the answer_list")
        if not self.test_mode:
            self._log_left_out(questions, len(items))
        return items

    def _media_of(self, questions: Sequence[Question]) -> dict[tuple[str, str], dict]:
        found: dict[tuple[str, str], dict] = {}
        for prefix in dict.fromkeys(question.prefix for question in questions):
            names = [question.media for question in questions if question.prefix == prefix]
            for name, info in self._find_media(names, prefix).items():
                found[prefix, name] = {**info, "media_id": len(found)}
        return found

    def _spelled(self, shares: dict[str, float]) -> dict[str, float]:
        """Answers of the list under the list's spelling."""
        known = self._known or {}
        return {known.get(words_of(answer), answer): share for answer, share in shares.items()}

    def _training_answers(self, question: Question, answers: dict[str, float]) -> dict[str, float]:
        if not answers:
            raise ValueError(
                f"{question.where}: question {question.question_id!r} has no answer to train on; "
                "give it one or remove it. A split without answers needs test_mode=True."
            )
        if self._known is None or self.outside == "keep":
            return answers
        known = self._known
        kept = {answer: share for answer, share in answers.items() if words_of(answer) in known}
        if len(kept) < len(answers) and self.outside == "raise":
            outside = next(answer for answer in answers if answer not in kept)
            raise ValueError(
                f"{question.where}: answer {outside!r} of question {question.question_id!r} is not "
                "in the answer_list; add it, or set outside='keep' or 'drop'."
            )
        return kept

    def _log_outside(self, shares: Sequence[dict[str, float]]) -> None:
        known = set((self._known or {}).values())
        answered = [answers for answers in shares if answers]
        without = sum(not known & set(answers) for answers in answered)
        outside = sum(answer not in known for answers in answered for answer in answers)
        if outside:
            print_log(
                f"{self.split_name}: {outside} answers are not in the answer_list of {len(known)}; "
                f"{without} of {len(answered)} questions have no other answer.",
                "current",
                logging.WARNING,
            )

    def _log_left_out(self, questions: Sequence[Question], kept: int) -> None:
        blank = sum(not words_of(answer) for q in questions for answer in q.answers or ())
        if blank:
            print_log(f"{self.split_name}: {blank} blank answers get no weight.", "current", 30)
        if kept < len(questions):
            print_log(
                f"{self.split_name}: {len(questions) - kept} of {len(questions)} questions are "
                "left out (outside='drop'): none of their answers is in the answer_list.",
                "current",
                logging.WARNING,
            )


def _refuse_repeated_ids(questions: Sequence[Question]) -> None:
    seen: dict[int | str, str] = {}
    for question in questions:
        first = seen.setdefault(question.question_id, question.where)
        if first is not question.where:
            raise ValueError(
                f"{question.where}: question_id {question.question_id!r} stands at {first} too; "
                "every question needs an identifier of its own."
            )


def _truth(question: Question) -> dict[str, Any]:
    facts = {
        "gt_answers": question.answers,
        "question_type": question.question_type,
        "answer_type": question.answer_type,
    }
    return {name: value for name, value in facts.items() if value is not None}
