"""GLUE's measures of texts that a model wrote, and its submission files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from uniadapter.registry import METRICS
from uniadapter.structures.glue import GlueTask, glue_task
from uniadapter.utils.safe_io import atomic_write

from ..functional.glue_scores import GLUE_MEASURES
from .gathered import GatheredMetric, sample_field, sample_id, sample_prediction, shown

#: What a text counts as that is no score.
NO_SCORE = -1.0


def parse_answer(task: GlueTask, text: str) -> float | None:
    """The number that a model's text says: that of a label, or a score.

    Args:
        task: The task.
        text: What was written; blanks at its ends don't count.

    Returns:
        None for a text that says none: not the number of a label, or no finite number.
    """
    text = text.strip()
    if not task.scored:
        numbers = {str(number): number for number in range(len(task.labels))}
        return numbers.get(text)
    try:
        score = float(text)
    except ValueError:
        return None
    return score if math.isfinite(score) else None


def _counted(task: GlueTask, said: float | None, truth: float) -> float:
    """What an answer counts as; one that says nothing is wrong."""
    if said is not None:
        return said
    return NO_SCORE if task.scored else (truth + 1) % len(task.labels)


@METRICS.register_module()
class GLUEMetric(GatheredMetric):
    """The measures of one of GLUE's tasks, in percent.

    CoLA has Matthews' correlation, MRPC and QQP F1 and accuracy, STS-B Pearson's and Spearman's
    correlation, the others accuracy; ``score`` is that measure, or the mean of the two.

    Data samples carry ``index``, ``pred_text`` and, where the split has it, ``label`` as the file
    says it. A text that says no label counts as a wrong one, one that says no score as -1, as in
    T5's evaluation; ``unreadable`` is their share. Scores of STS-B are compared with the file's,
    which are not rounded.

    Args:
        task: ``'cola'``, ``'sst2'``, ``'mrpc'``, ``'qqp'``, ``'mnli'``, ``'qnli'``, ``'rte'`` or
            ``'stsb'``.
        submission_file: TSV file for GLUE's server, ``index`` and ``prediction`` as the training
            file names labels; written whether or not there are labels. A text that says nothing
            stands as the first label, or as 0.
        prefix: Put before every name in the results.
        collect_device: Accepted for mmengine's sake.

    Raises:
        ValueError: If the task is unknown, or ``submission_file`` does not end in .tsv.
    """

    def __init__(
        self,
        task: str,
        submission_file: str | Path | None = None,
        prefix: str | None = None,
        collect_device: str = "cpu",
    ) -> None:
        super().__init__(prefix=prefix, collect_device=collect_device)
        self.task = glue_task(task, type(self).__name__)
        if submission_file is not None and Path(submission_file).suffix != ".tsv":
            raise ValueError(
                f"GLUEMetric.submission_file must end in .tsv, got {str(submission_file)!r}."
            )
        self.submission_file = submission_file

    def process(self, data_batch: Any, data_samples: Sequence[Any]) -> None:
        """Take note of some answers.

        Args:
            data_batch: Not used.
            data_samples: Dicts or objects with the fields named above.

        Raises:
            ValueError: If a field is missing or of the wrong kind.
        """
        for sample in data_samples:
            index = sample_id(sample, "index", "GLUEMetric")
            self.results.append(
                dict(
                    id=index,
                    prediction=sample_prediction(sample, "pred_text", "GLUEMetric"),
                    truth=self._truth(sample_field(sample, "label"), index),
                )
            )

    def _truth(self, label: Any, index: int | str) -> float | None:
        if label is None:
            return None
        if self.task.scored:
            return float(label)
        if label not in self.task.labels:
            raise ValueError(
                f"GLUEMetric: sample {index!r} has the label {label!r}, which is none of "
                f"{self.task.name}'s {list(self.task.labels)}: the dataset is another task's."
            )
        return float(self.task.labels.index(label))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Measures of all answers.

        Args:
            results: The gathered records.

        Returns:
            The task's measures, ``score`` and ``unreadable``, in percent; nothing when there are no
            labels.

        Raises:
            ValueError: If only some samples have labels, or none has and there is no submission to
                write.
        """
        said = [parse_answer(self.task, record["prediction"]) for record in results]
        unread = [
            record["id"] for record, value in zip(results, said, strict=True) if value is None
        ]
        if unread:
            print_log(
                f"GLUEMetric: {len(unread)} of {len(results)} texts say no answer of "
                f"{self.task.name}: samples {shown(unread)}.",
                logger="current",
                level=30,
            )
        self._submit(results, said)
        without = [record["id"] for record in results if record["truth"] is None]
        if without and len(without) < len(results):
            raise ValueError(
                f"GLUEMetric: {len(without)} of {len(results)} samples have no label: "
                f"{shown(without)}. Give one to all, or to none."
            )
        if without and self.submission_file is None:
            raise ValueError(
                "GLUEMetric: the samples have no labels, so there is nothing to measure; set "
                "submission_file to write the answers for GLUE's server."
            )
        if without:
            return {}
        truths = [record["truth"] for record in results]
        counted = [_counted(self.task, *pair) for pair in zip(said, truths, strict=True)]
        measures = {name: 100 * GLUE_MEASURES[name](counted, truths) for name in self.task.measures}
        score = sum(measures.values()) / len(measures)
        return {**measures, "score": score, "unreadable": 100 * len(unread) / len(results)}

    def _submit(self, results: Sequence[dict], said: Sequence[float | None]) -> None:
        if self.submission_file is None:
            return
        lines = ["index\tprediction"]
        # The server wants the order of the file.
        for record, value in sorted(
            zip(results, said, strict=True), key=lambda pair: pair[0]["id"]
        ):
            number = 0.0 if value is None else value
            answer = f"{number:.3f}" if self.task.scored else self.task.labels[int(number)]
            lines.append(f"{record['id']}\t{answer}")
        atomic_write(self.submission_file, ("\n".join(lines) + "\n").encode())
        print_log(
            f"GLUEMetric: wrote {len(results)} answers to {self.submission_file}", logger="current"
        )
