"""Statements about two pictures that are true or false (NLVR2)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from mmengine.logging import print_log

from uniadapter.registry import METRICS
from uniadapter.utils.safe_io import atomic_write

from .gathered import sample_field, sample_id
from .vqa import AnswerMetric

_FIELDS = 4


@METRICS.register_module()
class NLVR2Metric(AnswerMetric):
    """Accuracy and consistency of NLVR2, in percent.

    Data samples carry ``question_id``, ``pred_label`` (1: true, 0: false), ``identifier``
    (``'dev-850-0-1'``) and ``label``, the truth (absent or None in a split to submit). A statement
    is made about several pairs of pictures, whose identifiers differ in their third field;
    consistency is the share of statements that are answered rightly about all of their pairs.

    Args:
        submission_file: CSV file to write, ``identifier,True`` or ``identifier,False`` a line;
            written whether or not there are truths.
        prefix: Put before every name in the results.
        collect_device: Accepted for mmengine's sake.
        prediction: Field of the prediction. Defaults to ``'pred_label'``.

    Raises:
        ValueError: If ``submission_file`` does not end in .csv.
    """

    truth = "label"
    suffix = ".csv"

    def __init__(
        self,
        submission_file: str | None = None,
        prefix: str | None = None,
        collect_device: str = "cpu",
        prediction: str = "pred_label",
    ) -> None:
        super().__init__(submission_file, prefix, collect_device, prediction)

    def process(self, data_batch: Any, data_samples: Sequence[Any]) -> None:
        """Take note of some answers.

        Args:
            data_batch: Not used.
            data_samples: Dicts or objects with the fields named above.

        Raises:
            ValueError: If a field is missing or of the wrong kind.
        """
        for sample in data_samples:
            number = sample_id(sample, "question_id", "NLVR2Metric")
            name = sample_field(sample, "identifier")
            if not isinstance(name, str) or len(name.split("-")) != _FIELDS:
                raise ValueError(
                    f"NLVR2Metric: 'identifier' of statement {number!r} must have {_FIELDS} fields "
                    f"with '-' between them, such as 'dev-850-0-1', got {name!r}."
                )
            truth = sample_field(sample, "label")
            self.results.append(
                dict(
                    id=number,
                    prediction=_zero_or_one(sample_field(sample, self.prediction), number),
                    identifier=name,
                    truth=None if truth is None else _zero_or_one(truth, number),
                )
            )

    def _submit(self, records: Sequence[dict]) -> None:
        if self.submission_file is not None:
            lines = [f"{r['identifier']},{bool(r['prediction'])}\n" for r in records]
            atomic_write(self.submission_file, "".join(lines).encode())
            print_log(
                f"NLVR2Metric: wrote {len(lines)} answers to {self.submission_file}",
                logger="current",
            )

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Accuracy of all answers.

        Args:
            results: The gathered records.

        Returns:
            ``'accuracy'`` and ``'consistency'``, in percent; nothing when there are no truths.

        Raises:
            ValueError: If only some statements have truths, or none has and there is no submission
                to write.
        """
        has_truth = self._has_truth(results)
        self._submit(results)
        if not has_truth:
            return {}
        groups: dict[str, list[bool]] = defaultdict(list)
        for record in results:
            first, second, _, last = record["identifier"].split("-")
            right = record["prediction"] == record["truth"]
            groups[f"{first}-{second}-{last}"].append(right)
        rights = [right for group in groups.values() for right in group]
        return {
            "accuracy": 100.0 * sum(rights) / len(rights),
            "consistency": 100.0 * sum(map(all, groups.values())) / len(groups),
        }


def _zero_or_one(value: Any, number: int | str) -> int:
    if value not in (0, 1):
        raise ValueError(
            f"NLVR2Metric: statement {number!r} needs a prediction and a 'label' of 0 (false) or 1 "
            f"(true), got {value!r}; the model's mode='predict' sets the prediction."
        )
    return int(value)
