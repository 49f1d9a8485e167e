"""How each of several tasks is trained and answered: one row a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..adapters.base import check_choice
from ..generation import GenerationConfig

#: What a batch of B texts with token losses c and n tokens each is trained on.
LOSSES = (
    # mean over texts of s * sum(c) / n, s being the weight of the sample's target
    "per_sample_weighted",
    # mean over texts of sum(c) / n
    "per_sample",
    # sum over all of c / sum over all of n
    "per_token",
)


@dataclass(frozen=True)
class TaskRule:
    """One task.

    Attributes:
        loss (str): One of :data:`LOSSES`.
        target_len (int, optional): Tokens kept of a training target, marks included. None: all.
        generation (GenerationConfig): How answers are written. Defaults to greedy decoding of at
            most 20 tokens.
        answers (tuple[str, ...]): The answers where nothing is written: that one is chosen whose
            first token is the most likely one at the first place of an answer. Its number is the
            label. Defaults to none.
    """

    loss: str = "per_sample"
    target_len: int | None = None
    generation: GenerationConfig = field(default_factory=lambda: GenerationConfig(1, 20, 0))
    answers: tuple[str, ...] = ()

    @classmethod
    def build(cls, task: str, options: Mapping[str, Any]) -> TaskRule:
        """The rule of a task by a config; what it leaves out is as :data:`RULES` has it.

        Args:
            task (str): Its name.
            options (Mapping): Attributes of the rule; those of ``generation`` are a dict.

        Raises:
            ValueError: If an option is unknown or outside its set, or the task is none of
                :data:`RULES` and has no options.
        """
        key = f"model.rules.{task}"
        known = RULES.get(task)
        if known is None and not options:
            raise ValueError(
                f"model.tasks has {task!r}, for which there is no rule: choose from {list(RULES)}, "
                f"or set {key}, such as dict(loss='per_sample', target_len=20)."
            )
        own = {} if known is None else vars(known)
        unknown = set(options) - set(cls.__dataclass_fields__)
        if unknown:
            raise ValueError(
                f"{key}: {sorted(unknown)} are no options of a task: it has "
                f"{list(cls.__dataclass_fields__)}."
            )
        values = {**own, **options}
        check_choice(values.get("loss", cls.loss), LOSSES, f"{key}.loss")
        length = values.get("target_len")
        if length is not None and (not isinstance(length, int) or length < 2):
            raise ValueError(f"{key}.target_len={length!r} must be None or an int >= 2.")
        written = options.get("generation", {})
        if not isinstance(written, GenerationConfig):
            before = own.get("generation", GenerationConfig(1, 20, 0))
            values["generation"] = GenerationConfig(**{**vars(before), **written})
        answers = values.get("answers", ())
        if isinstance(answers, str) or len(answers) == 1:
            raise ValueError(f"{key}.answers={answers!r} must be several answers, or none.")
        return cls(**{**values, "answers": tuple(answers)})


def rules_of(tasks: Sequence[str], options: Mapping[str, Any] | None) -> dict[str, TaskRule]:
    """The rules of some tasks.

    Args:
        tasks (Sequence[str]): Their names.
        options (Mapping, optional): Options by task, see :meth:`TaskRule.build`.

    Raises:
        ValueError: If a task has no rule, or there are options of a task that is not learned.
    """
    options = options or {}
    left = set(options) - set(tasks)
    if left:
        raise ValueError(
            f"model.rules has {sorted(left)}, which model.tasks={list(tasks)} has not."
        )
    return {task: TaskRule.build(task, options.get(task, {})) for task in tasks}


_GREEDY = GenerationConfig(num_beams=1, max_length=20, min_length=0)
_BEAMS = GenerationConfig(num_beams=5, max_length=20, min_length=0)
_VIDEO = TaskRule("per_sample", 20, _BEAMS)

#: VL-Adapter's tasks. Captions are trained on up to 40 tokens and written in at most 20.
RULES: dict[str, TaskRule] = {
    "vqa": TaskRule("per_sample_weighted", 10, _GREEDY),
    "gqa": TaskRule("per_sample", None, _GREEDY),
    "nlvr": TaskRule("per_sample", None, _GREEDY, ("false", "true")),
    "caption": TaskRule("per_token", 40, _BEAMS),
    "tvqa": _VIDEO,
    "how2qa": _VIDEO,
    "tvc": _VIDEO,
    "yc2c": _VIDEO,
}
