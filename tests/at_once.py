"""Calls that several processes make at the same moment."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any


def _act(number: int, gate: Any, act: Callable[[], Any], results: Any) -> None:
    gate.wait()
    try:
        results.put((number, act(), None))
    except (ValueError, OSError) as error:
        results.put((number, None, error))


def at_once(*acts: Callable[[], Any]) -> list[Any]:
    """What calls return, or the errors that they raise, in the order of the calls."""
    context = multiprocessing.get_context("fork")
    gate, results = context.Barrier(len(acts)), context.Queue()
    children = [
        context.Process(target=_act, args=(number, gate, act, results))
        for number, act in enumerate(acts)
    ]
    for child in children:
        child.start()
    found: list[Any] = [None] * len(acts)
    for _ in children:
        number, value, error = results.get(timeout=60)
        found[number] = value if error is None else error
    for child in children:
        child.join()
        assert child.exitcode == 0
    return found
