"""Accuracy of answers that have scores: VQA as classification."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from uniadapter.registry import METRICS

from .gathered import write_json
from .vqa import AnswerMetric, answer_scores, grouped

# Names of a row's two fields on the official servers.
_FORMATS = {"vqa": ("question_id", "answer"), "gqa": ("questionId", "prediction")}


@METRICS.register_module()
class SoftVQAMetric(AnswerMetric):
    """Mean score of the predicted answers, in percent (LXMERT, CLIP-ViL).

    Data samples carry ``question_id``, ``pred_answer``, ``gt_scores`` (the score of each right
    answer, ``{answer: score}``; absent or None in a split to submit) and, where known,
    ``question_type`` and ``answer_type``. An answer counts what its score is, one that is not among
    them nothing. A sample that is ``skipped`` and has no prediction counts nothing.

    Args:
        submission_file: JSON file for the official server; written whether or not there are scores.
        submission_format: ``'vqa'``: a list of ``question_id`` and ``answer``; ``'gqa'``: of
            ``questionId`` and ``prediction``. Defaults to ``'vqa'``.
        prefix: Put before every name in the results.
        collect_device: Accepted for mmengine's sake.
        prediction: Field of the predicted answer; text-to-text models write ``'pred_text'``.

    Raises:
        ValueError: If ``submission_file`` does not end in .json, or the format is unknown.
    """

    truth = "gt_scores"

    def __init__(
        self,
        submission_file: str | Path | None = None,
        submission_format: str = "vqa",
        prefix: str | None = None,
        collect_device: str = "cpu",
        prediction: str = "pred_answer",
    ) -> None:
        super().__init__(submission_file, prefix, collect_device, prediction)
        if submission_format not in _FORMATS:
            raise ValueError(
                f"SoftVQAMetric.submission_format={submission_format!r} is unknown: choose from "
                f"{list(_FORMATS)}."
            )
        self.submission_format = submission_format

    def _truth_of(self, sample: Any, question: int | str) -> dict[str, float] | None:
        return answer_scores(sample, question)

    def _submit(self, records: Sequence[dict]) -> None:
        if self.submission_file is not None:
            number, answer = _FORMATS[self.submission_format]
            rows = [{number: r["id"], answer: r["prediction"]} for r in records]
            write_json(self.submission_file, rows, type(self).__name__)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Accuracy of all answers.

        Args:
            results: The gathered records.

        Returns:
            ``'accuracy'``, and ``'answer_type/<type>'`` and ``'question_type/<type>'`` where types
            are known, in percent; nothing when there are no scores.

        Raises:
            ValueError: If only some questions have scores, or none has and there is no submission
                to write.
        """
        has_truth = self._has_truth(results)
        self._submit(results)
        if not has_truth:
            return {}
        scores = [100.0 * record["truth"].get(record["prediction"], 0.0) for record in results]
        return {
            "accuracy": sum(scores) / len(scores),
            **grouped(results, scores, "answer_type"),
            **grouped(results, scores, "question_type"),
        }
