"""The eight tasks that VL-Adapter trains jointly, and how texts name them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class VlTask:
    """One task, to whoever writes its texts, reads them or measures answers.

    Attributes:
        name (str): As it stands in configs.
        prefix (str): What names the task in a text that is read, where prefixes are on.
        choices (int): Answers to choose from; 0: none are given.
    """

    name: str
    prefix: str
    choices: int = 0


VL_TASKS: dict[str, VlTask] = {
    task.name: task
    for task in (
        VlTask("vqa", "vqa: "),
        # The released code says so, and published figures were trained with it.
        VlTask("gqa", "gpa: "),
        VlTask("nlvr", "nlvr: "),
        VlTask("caption", "caption: "),
        VlTask("tvqa", "tvqa: ", choices=5),
        VlTask("how2qa", "how2qa: ", choices=4),
        VlTask("tvc", "tvc: "),
        VlTask("yc2c", "yc2c: "),
    )
}


def vl_task(name: str, owner: str, among: tuple[str, ...] = tuple(VL_TASKS)) -> VlTask:
    """The task of a name.

    Args:
        name (str): Such as ``'vqa'``.
        owner (str): Whose option ``task`` it is, for the error.
        among (tuple[str, ...]): Those that will do. Defaults to all.

    Raises:
        ValueError: If it is none of them.
    """
    if name not in among:
        raise ValueError(f"{owner}.task={name!r} is unknown: choose from {list(among)}.")
    return VL_TASKS[name]
