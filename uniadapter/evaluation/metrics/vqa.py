"""Accuracy of answers to questions about images and videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from uniadapter.evaluation.functional.vqa_accuracy import (
    consensus_accuracy,
    exact_match,
    mean_by_group,
    older_consensus_accuracy,
    video_question_type,
)
from uniadapter.registry import METRICS

from .gathered import (
    GatheredMetric,
    sample_field,
    sample_id,
    sample_prediction,
    shown,
    write_json,
)

_UNSPECIFIED = "unspecified"
_ACCURACIES = {"current": consensus_accuracy, "older": older_consensus_accuracy}


def text_or_none(sample: Any, name: str) -> str | None:
    """A field that is a string, where a data sample has it."""
    value = sample_field(sample, name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name!r} of a data sample must be a string, got {value!r}")
    return value


def grouped(records: Sequence[dict], scores: Sequence[float], name: str) -> dict[str, float]:
    """Mean score by a field that some record has, named so that a slash is no group of its own."""
    groups = [record[name] for record in records]
    if all(group is None for group in groups):
        return {}
    safe = [_UNSPECIFIED if g is None else g.replace("/", "_").replace(" ", "_") for g in groups]
    return {f"{name}/{group}": mean for group, mean in mean_by_group(scores, safe).items()}


def _log_empty(records: Sequence[dict], metric: str) -> None:
    empty = [record["id"] for record in records if not record["prediction"].strip()]
    if empty:
        print_log(
            f"{metric}: {len(empty)} answers are empty and count as any other answer: questions "
            f"{shown(empty)}",
            logger="current",
            level=30,
        )


class AnswerMetric(GatheredMetric):
    """What answer metrics share: the submission file and splits without ground truth."""

    #: Field of the right answers.
    truth = "gt_answers"
    #: Extension of submission files.
    suffix = ".json"

    def __init__(
        self,
        submission_file: str | Path | None = None,
        prefix: str | None = None,
        collect_device: str = "cpu",
        prediction: str = "pred_answer",
    ) -> None:
        super().__init__(prefix=prefix, collect_device=collect_device)
        if submission_file is not None and Path(submission_file).suffix != self.suffix:
            raise ValueError(
                f"{type(self).__name__}.submission_file must end in {self.suffix}, got "
                f"{submission_file!r}"
            )
        self.submission_file = submission_file
        self.prediction = prediction

    def process(self, data_batch: Any, data_samples: Sequence[Any]) -> None:
        """Take note of some answers.

        Args:
            data_batch: Not used.
            data_samples: Dicts or objects with the fields named above.

        Raises:
            ValueError: If a field is missing or of the wrong kind.
        """
        name = type(self).__name__
        for sample in data_samples:
            question = sample_id(sample, "question_id", name)
            self.results.append(
                dict(
                    id=question,
                    prediction=sample_prediction(sample, self.prediction, name),
                    truth=self._truth_of(sample, question),
                    question_type=text_or_none(sample, "question_type"),
                    answer_type=text_or_none(sample, "answer_type"),
                    **self._further(sample, question),
                )
            )

    def _further(self, sample: Any, question: int | str) -> dict[str, Any]:
        """What else a record of a sample holds."""
        return {}

    def _truth_of(self, sample: Any, question: int | str) -> Any:
        """The right answers of a sample, checked; None where a split has none."""
        raise NotImplementedError

    def _submit(self, records: Sequence[dict]) -> None:
        if self.submission_file is not None:
            rows = [{"question_id": r["id"], "answer": r["prediction"]} for r in records]
            write_json(self.submission_file, rows, type(self).__name__)

    def _has_truth(self, records: Sequence[dict]) -> bool:
        """Whether the records have their right answers: all of them, or none."""
        name = type(self).__name__
        without = [record["id"] for record in records if record["truth"] is None]
        if without and len(without) < len(records):
            raise ValueError(
                f"{name}: {len(without)} of {len(records)} questions have no right answers "
                f"({self.truth!r}): {shown(without)}. Give them to all, or to none for a split "
                "that has none."
            )
        if without and self.submission_file is None:
            raise ValueError(
                f"{name}: the questions have no right answers ({self.truth!r}), so there is "
                "nothing to measure; set submission_file to write the answers for the server."
            )
        return not without


@METRICS.register_module()
class VQAMetric(AnswerMetric):
    """Accuracy in the protocol of VQA (ten annotators), in percent.

    Data samples carry ``question_id``, ``pred_answer``, ``gt_answers`` (list of the annotators'
    answers; absent or None in test-dev and test-std) and, where known, ``question_type`` and
    ``answer_type``, ``gt_scores`` (``{answer: score}``) and ``is_topk_optimal`` (whether the best
    score is that of an answer among the classes). A sample that is ``skipped`` and has no
    prediction counts as an empty answer.

    Args:
        submission_file: JSON file for the official server, a list of ``question_id`` and
            ``answer``; written whether or not there are right answers.
        prefix: Put before every name in the results.
        collect_device: Accepted for mmengine's sake.
        prediction: Field of the predicted answer; text-to-text models write ``'pred_text'``.
        protocol: ``'current'``, see :func:`.consensus_accuracy`, or ``'older'``, see
            :func:`.older_consensus_accuracy`, for figures to compare with those of LXMERT, VL-T5
            and VL-Adapter. Defaults to ``'current'``.

    Raises:
        ValueError: If ``submission_file`` does not end in .json, or the protocol is unknown.
    """

    def __init__(
        self,
        submission_file: str | Path | None = None,
        prefix: str | None = None,
        collect_device: str = "cpu",
        prediction: str = "pred_answer",
        protocol: str = "current",
    ) -> None:
        super().__init__(submission_file, prefix, collect_device, prediction)
        if protocol not in _ACCURACIES:
            raise ValueError(
                f"VQAMetric.protocol={protocol!r} is unknown: choose from {list(_ACCURACIES)}."
            )
        self.protocol = protocol

    def _truth_of(self, sample: Any, question: int | str) -> list[str] | None:
        return _answer_list(sample, question)

    def _further(self, sample: Any, question: int | str) -> dict[str, Any]:
        optimal = sample_field(sample, "is_topk_optimal")
        return {"scores": answer_scores(sample, question), "optimal": optimal}

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Accuracy of all answers.

        Args:
            results: The gathered records.

        Returns:
            ``'accuracy'``, and ``'answer_type/<type>'`` and ``'question_type/<type>'`` where types
            are known; ``'topk_score'``, the mean score of the answers, where all questions have
            scores; ``'topk_optimal'`` and ``'topk_not_optimal'``, the accuracy on the questions
            marked so; all in percent; nothing when there are no right answers.

        Raises:
            ValueError: If only some questions have right answers, or none has and there is no
                submission to write.
        """
        has_truth = self._has_truth(results)
        self._submit(results)
        _log_empty(results, "VQAMetric")
        if not has_truth:
            return {}
        scores = [self._score(record) for record in results]
        return {
            "accuracy": sum(scores) / len(scores),
            **_topk(results, scores),
            **grouped(results, scores, "answer_type"),
            **grouped(results, scores, "question_type"),
        }

    def _score(self, record: dict) -> float:
        try:
            return 100 * _ACCURACIES[self.protocol](record["prediction"], record["truth"])
        except ValueError as error:
            raise ValueError(f"question {record['id']!r}: {error}") from None


def _topk(records: Sequence[dict], scores: Sequence[float]) -> dict[str, float]:
    """The mean score of answers, and the accuracy where the best answer is a class or not."""
    found = {}
    if all(record["scores"] is not None for record in records):
        given = [100.0 * record["scores"].get(record["prediction"], 0.0) for record in records]
        found["topk_score"] = sum(given) / len(given)
    for name, mark in (("topk_optimal", True), ("topk_not_optimal", False)):
        part = [s for s, r in zip(scores, records, strict=True) if r["optimal"] is mark]
        if part:
            found[name] = sum(part) / len(part)
    return found


@METRICS.register_module()
class QAExactMatch(AnswerMetric):
    """Share of answers that equal the right one (video QA), in percent.

    Data samples carry ``question_id``, ``pred_answer``, ``gt_answers`` (a string, or a list with
    one string) and, for figures by question type, ``question_type`` or ``question``, whose first
    word (what, who, how, when, where) is its type. Answers are compared as an uncased tokenizer
    reads them, see :func:`.exact_match`.

    Args:
        submission_file: JSON file to write, a list of ``question_id`` and ``answer``.
        prefix: Put before every name in the results.
        collect_device: Accepted for mmengine's sake.

    Raises:
        ValueError: If ``submission_file`` does not end in .json.
    """

    def process(self, data_batch: Any, data_samples: Sequence[Any]) -> None:
        """Take note of some answers.

        Args:
            data_batch: Not used.
            data_samples: Dicts or objects with the fields named above.

        Raises:
            ValueError: If a field is missing or of the wrong kind, or a question has several
                right answers.
        """
        for sample in data_samples:
            question_id = sample_id(sample, "question_id", "QAExactMatch")
            truth = _answer_list(sample, question_id)
            if truth is not None and len(truth) != 1:
                raise ValueError(
                    f"QAExactMatch compares with one right answer, but question {question_id!r} "
                    f"has {len(truth)}: {truth!r}. Use VQAMetric for several annotators' answers."
                )
            kind = text_or_none(sample, "question_type")
            question = text_or_none(sample, "question")
            if kind is None and question is not None:
                kind = video_question_type(question)
            self.results.append(
                dict(
                    id=question_id,
                    prediction=sample_prediction(sample, "pred_answer", "QAExactMatch"),
                    truth=truth,
                    question_type=kind,
                )
            )

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Accuracy of all answers.

        Args:
            results: The gathered records.

        Returns:
            ``'accuracy'`` and, where types are known, ``'question_type/<type>'``, in percent;
            nothing when there are no right answers.

        Raises:
            ValueError: As :meth:`VQAMetric.compute_metrics`.
        """
        has_truth = self._has_truth(results)
        self._submit(results)
        _log_empty(results, "QAExactMatch")
        if not has_truth:
            return {}
        scores = [100.0 * exact_match(r["prediction"], r["truth"][0]) for r in results]
        return {
            "accuracy": sum(scores) / len(scores),
            **grouped(results, scores, "question_type"),
        }


def _answer_list(sample: Any, question_id: int | str) -> list[str] | None:
    value = sample_field(sample, "gt_answers")
    if value is None:
        return None
    answers = [value] if isinstance(value, str) else list(value)
    if not answers or not all(isinstance(answer, str) for answer in answers):
        raise ValueError(
            f"'gt_answers' of question {question_id!r} must be a list of strings with at least one "
            f"(None where a split has no answers), got {value!r}"
        )
    return answers


def answer_scores(sample: Any, question: int | str) -> dict[str, float] | None:
    """The scores of a question's right answers; None where a split has none.

    Args:
        sample: A data sample, which may have ``gt_scores``.
        question: Its identifier, for the error.

    Raises:
        ValueError: If they are no mapping of answers and scores.
    """
    value = sample_field(sample, "gt_scores")
    if value is None:
        return None
    if not isinstance(value, Mapping) or not all(isinstance(a, str) for a in value):
        raise ValueError(
            f"'gt_scores' of question {question!r} must be a mapping of answers and scores (None "
            f"where a split has none), got {value!r}"
        )
    return {answer: float(score) for answer, score in value.items()}
