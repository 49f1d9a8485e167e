"""Several data sets behind each other, one a task, for training and testing them jointly."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from torch.utils.data import Dataset

from ..registry import DATASETS


@DATASETS.register_module()
class JointDataset(Dataset):
    """The items of all tasks, those of the first task first.

    An item is what the task's own data set gives; its sample's ``task`` is the name of the task
    here, which is set where the data set leaves it out. Batches of one task are made by
    :class:`.joint_sampler.JointBatchSampler`::

        dataset=dict(type='JointDataset', datasets=dict(
            vqa=dict(type='...', ...),
            caption=dict(type='...', ...)))

    Args:
        datasets: Data sets or their configs by task. Their order is that of the tasks, which the
            drawing of tasks depends on.
        lazy_init: Leave reading the files to ``full_init()``. Defaults to False.

    Raises:
        ValueError: If there is no task, or one has no item.
    """

    def __init__(self, datasets: Mapping[str, Any], lazy_init: bool = False) -> None:
        if not isinstance(datasets, Mapping) or not datasets:
            raise ValueError(
                f"JointDataset: datasets={datasets!r} must be data sets by task, such as "
                "dict(vqa=dict(type=...), caption=dict(type=...))."
            )
        self.datasets: dict[str, Any] = {
            task: DATASETS.build(given) if isinstance(given, Mapping) else given
            for task, given in datasets.items()
        }
        self._ends: list[int] = []
        if not lazy_init:
            self.full_init()

    def full_init(self) -> None:
        """Read the files of all tasks, once."""
        if self._ends:
            return
        for dataset in self.datasets.values():
            if hasattr(dataset, "full_init"):
                dataset.full_init()
        for task, size in self.sizes().items():
            if size == 0:
                raise ValueError(f"JointDataset: task {task!r} has no item: leave it out.")
        self._ends = list(accumulate(self.sizes().values()))

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks, in order."""
        return tuple(self.datasets)

    @property
    def metainfo(self) -> dict[str, Any]:
        """What an evaluator has to know: the number of items by task."""
        return {"tasks": self.sizes()}

    def sizes(self) -> dict[str, int]:
        """Number of items by task."""
        return {task: len(dataset) for task, dataset in self.datasets.items()}

    def place(self, index: int) -> tuple[str, int]:
        """Task of an item, and its number there.

        Args:
            index: Number of the item, from 0.

        Raises:
            IndexError: If there is no such item.
        """
        self.full_init()
        if not 0 <= index < len(self):
            raise IndexError(f"JointDataset: item {index} of {len(self)}.")
        number = bisect_right(self._ends, index)
        return self.tasks[number], index - (self._ends[number - 1] if number else 0)

    def get_data_info(self, index: int) -> dict[str, Any]:
        """What the task's data set knows of an item, with its ``task``."""
        task, number = self.place(index)
        return {**self.datasets[task].get_data_info(number), "task": task}

    def __len__(self) -> int:
        self.full_init()
        return self._ends[-1]

    def __getitem__(self, index: int) -> Any:
        """Item ``index``; see the class.

        Raises:
            ValueError: If its sample is of another task.
        """
        task, number = self.place(index)
        item = self.datasets[task][number]
        sample = item.get("data_samples") if isinstance(item, Mapping) else None
        if sample is None:
            return item
        own = getattr(sample, "task", None)
        if own is None:
            sample.set_field(task, "task")
        elif own != task:
            raise ValueError(
                f"JointDataset: item {number} of task {task!r} says that it is of task {own!r}: "
                "name the data set as its samples do."
            )
        return item
