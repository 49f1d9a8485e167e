"""The task of a batch: which of several that are learned at once a model runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

from torch import nn

# What runs now, of all models; read by `remembering`.
_RUNNING: dict[ActiveTask, str] = {}
# Modules are kept by the names of tasks, which must not be those of what a container of torch does.
_TAKEN = frozenset((*dir(nn.ModuleDict()), *dir(nn.ParameterDict())))


class ActiveTask:
    """Names of the tasks that a model learns, and the one that it runs.

    A model has one, sets it once a batch, and gives it to methods in ``Places.tasks``; parameters
    of the other tasks take no part in the batch and get no gradient.

    .. code-block:: python

        with model.tasks.set('vqa'):
            losses = model(**batch, mode='loss')

    Args:
        names (Sequence[str]): The tasks, in order.

    Raises:
        ValueError: If there is none, one repeats, or one can't be the name of a module.
    """

    def __init__(self, names: Sequence[str]) -> None:
        if isinstance(names, str) or not names:
            raise ValueError(f"tasks={names!r} must be a list of names, one at least.")
        for name in names:
            if not isinstance(name, str) or not name or "." in name or name in _TAKEN:
                raise ValueError(
                    f"tasks: {name!r} can't be the name of a task. Parameters are called by it, "
                    "so that it has no dot and is no attribute of torch's ModuleDict and "
                    "ParameterDict."
                )
        if len(set(names)) != len(names):
            raise ValueError(f"tasks={list(names)} names one twice.")
        self._names = tuple(names)
        self._current: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The tasks, in order."""
        return self._names

    @property
    def current(self) -> str | None:
        """The task that runs; None outside of :meth:`set`."""
        return self._current

    @contextmanager
    def set(self, name: str) -> Iterator[None]:
        """Run a task inside the context; what ran before does so again behind it.

        Args:
            name (str): The task.

        Raises:
            ValueError: If there is none of that name; the error lists those that there are.
        """
        if name not in self._names:
            raise ValueError(f"There is no task {name!r}: choose from {list(self._names)}.")
        before = self._current
        self._run(name)
        try:
            yield
        finally:
            self._run(before)

    def _run(self, name: str | None) -> None:
        self._current = name
        if name is None:
            _RUNNING.pop(self, None)
        else:
            _RUNNING[self] = name

    def need(self, method: str) -> str:
        """The task that runs.

        Args:
            method (str): Who asks, for the error.

        Raises:
            ValueError: If none does.
        """
        if self._current is None:
            raise ValueError(
                f"{method} has parameters of its own for each of the tasks {list(self._names)}, "
                "and none of them is set: run the model inside `with model.tasks.set(name):`."
            )
        return self._current


class _Again:
    """Sets tasks once more; may be entered any number of times."""

    def __init__(self, running: Mapping[ActiveTask, str]) -> None:
        self._running = dict(running)
        self._stacks: list[ExitStack] = []

    def __enter__(self) -> None:
        stack = ExitStack()
        for tasks, name in self._running.items():
            stack.enter_context(tasks.set(name))
        self._stacks.append(stack)

    def __exit__(self, *error: Any) -> None:
        self._stacks.pop().close()


def remembering() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """The ``context_fn`` of ``torch.utils.checkpoint``: a layer is recomputed in its own task.

    The backward pass recomputes layers when the task's context may have ended.

    Returns:
        tuple: Contexts of the forward pass and of the recomputation.
    """
    return nullcontext(), _Again(_RUNNING)
