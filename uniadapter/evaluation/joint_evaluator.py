"""Metrics of several tasks that are tested in one run, and their average."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.logging import print_log

from uniadapter.registry import EVALUATOR, METRICS

from .metrics.gathered import sample_field

_SIZES = "tasks"
AVERAGE = "average"


@EVALUATOR.register_module()
class JointEvaluator(Evaluator):
    """Hands every sample to the metrics of its task, and reports all of them in one table.

    The data set is a :class:`uniadapter.datasets.JointDataset`, whose tasks are those of the
    metrics. A result is named by its task (``'vqa/accuracy'``), and ``'average'`` is the mean over
    the tasks of one measure each, as VL-Adapter's tables have it::

        val_evaluator = dict(
            type='JointEvaluator',
            metrics=dict(vqa=dict(type='...'), caption=dict(type='...')),
            average=dict(vqa='accuracy', caption='CIDEr'))

    Args:
        metrics: The metrics of each task: one, or a list of them, as configs or built.
        average: The measure of each task that the average takes. Tasks that are left out do not
            count. Defaults to None: there is no average. There is none either where a task measures
            nothing, as it has no truths and writes its predictions alone.
        scale: What a task's measure is multiplied by in the average; the measure itself stays as it
            is. Defaults to None: 1 for all.

    Raises:
        ValueError: If a task has no metric, or the average or a scale is of an unknown task.
    """

    def __init__(
        self,
        metrics: Mapping[str, Any],
        average: Mapping[str, str] | None = None,
        scale: Mapping[str, float] | None = None,
    ) -> None:
        if not isinstance(metrics, Mapping) or not metrics:
            raise ValueError(
                f"JointEvaluator: metrics={metrics!r} must be metrics by task, such as "
                "dict(vqa=dict(type=...), caption=dict(type=...))."
            )
        self.of_task: dict[str, list[BaseMetric]] = {
            task: _built(task, given) for task, given in metrics.items()
        }
        super().__init__([metric for own in self.of_task.values() for metric in own])
        self.average, self.scale = dict(average or {}), dict(scale or {})
        for key, known in (("average", metrics), ("scale", self.average)):
            if unknown := set(getattr(self, key)) - set(known):
                raise ValueError(
                    f"JointEvaluator: {key} names {sorted(unknown)}, not one of {list(known)}."
                )

    def process(self, data_samples: Sequence[Any], data_batch: Any = None) -> None:
        """Hand samples to the metrics of their tasks.

        Args:
            data_samples: Samples with their predictions; ``task`` of each names its task.
            data_batch: The batch that they are of.

        Raises:
            ValueError: If a sample is of no task that has metrics.
        """
        by_task: dict[str, list[Any]] = {}
        for sample in data_samples:
            task = sample_field(sample, "task")
            if task not in self.of_task:
                raise ValueError(
                    f"JointEvaluator: a sample's task is {task!r}, and there are metrics of "
                    f"{list(self.of_task)}."
                )
            plain = sample.to_dict() if hasattr(sample, "to_dict") else sample
            by_task.setdefault(task, []).append(plain)
        for task, samples in by_task.items():
            for metric in self.of_task[task]:
                metric.process(data_batch, samples)

    def evaluate(self, size: int) -> dict[str, float]:
        """Measure all tasks, and log the table.

        Args:
            size: Length of the whole data set.

        Returns:
            The measures by ``task/name``, and ``average``.

        Raises:
            ValueError: If the data set is of other tasks, two metrics of a task have a measure of
                one name, or a measure of the average is not there.
        """
        sizes = self._sizes(size)
        found: dict[str, float] = {}
        for task, metrics in self.of_task.items():
            for metric in metrics:
                for name, value in metric.evaluate(sizes[task]).items():
                    if f"{task}/{name}" in found:
                        raise ValueError(
                            f"JointEvaluator: two metrics of task {task!r} have {name!r}: give "
                            "one of them a prefix."
                        )
                    found[f"{task}/{name}"] = value
        silent = [t for t in self.average if not any(k.startswith(f"{t}/") for k in found)]
        if self.average and not silent:
            found[AVERAGE] = self._average(found)
        print_log(f"Measures of all tasks:\n{self.table(found)}", logger="current")
        return found

    def table(self, found: Mapping[str, float]) -> str:
        """The measures as lines of a table, those of the average marked by a star.

        Args:
            found: What :meth:`evaluate` returns.
        """
        rows = [("task", "measure", "value")]
        for key, value in found.items():
            task, _, name = key.partition("/")
            counts = "*" if name and self.average.get(task) == name else ""
            rows.append((task, f"{name}{counts}", f"{value:.4f}"))
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        return "\n".join(
            f"{task:<{widths[0]}}  {name:<{widths[1]}}  {value:>{widths[2]}}"
            for task, name, value in rows
        )

    def _sizes(self, size: int) -> dict[str, int]:
        sizes = dict((self.dataset_meta or {}).get(_SIZES, {}))
        if set(sizes) != set(self.of_task) or sum(sizes.values()) != size:
            raise ValueError(
                f"JointEvaluator: the data set has the tasks {sizes}, {size} items in all, and "
                f"there are metrics of {list(self.of_task)}: test a JointDataset of these tasks."
            )
        return sizes

    def _average(self, found: Mapping[str, float]) -> float:
        values = []
        for task, name in self.average.items():
            if f"{task}/{name}" not in found:
                own = [key for key in found if key.startswith(f"{task}/")]
                raise ValueError(
                    f"JointEvaluator: the average takes {name!r} of task {task!r}, which has "
                    f"{own}: name one of these, or leave the task out."
                )
            values.append(found[f"{task}/{name}"] * self.scale.get(task, 1.0))
        return sum(values) / len(values)


def _built(task: str, given: Any) -> list[BaseMetric]:
    own = list(given) if isinstance(given, Sequence) else [given]
    if not own:
        raise ValueError(f"JointEvaluator: task {task!r} has no metric.")
    return [METRICS.build(one) if isinstance(one, Mapping) else one for one in own]
