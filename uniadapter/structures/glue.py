"""What the eight tasks of GLUE answer, and how they are measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GlueTask:
    """One task, to whoever writes or measures answers.

    Attributes:
        name (str): As it stands in configs and in front of a source text.
        labels (tuple[str, ...]): As files name them; the place of a label is what a model writes.
            Empty for a score from 0 to 5.
        measures (tuple[str, ...]): What is reported, in the order of the paper's mean.
    """

    name: str
    labels: tuple[str, ...]
    measures: tuple[str, ...]

    @property
    def scored(self) -> bool:
        """Whether answers are scores, without labels."""
        return not self.labels


_BINARY = ("0", "1")
_TWO = ("entailment", "not_entailment")

GLUE_TASKS: dict[str, GlueTask] = {
    task.name: task
    for task in (
        GlueTask("cola", _BINARY, ("matthews",)),
        GlueTask("sst2", _BINARY, ("accuracy",)),
        GlueTask("mrpc", _BINARY, ("f1", "accuracy")),
        GlueTask("qqp", _BINARY, ("f1", "accuracy")),
        GlueTask("mnli", ("entailment", "neutral", "contradiction"), ("accuracy",)),
        GlueTask("qnli", _TWO, ("accuracy",)),
        GlueTask("rte", _TWO, ("accuracy",)),
        GlueTask("stsb", (), ("pearson", "spearman")),
    )
}


def glue_task(name: str, owner: str) -> GlueTask:
    """The task of a name.

    Args:
        name (str): Such as ``'cola'``.
        owner (str): Whose option ``task`` it is, for the error.

    Raises:
        ValueError: If there is none of that name.
    """
    if name not in GLUE_TASKS:
        raise ValueError(f"{owner}.task={name!r} is unknown: choose from {list(GLUE_TASKS)}.")
    return GLUE_TASKS[name]
