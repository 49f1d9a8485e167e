from __future__ import annotations

import faulthandler
import os
import signal
import time

import pytest

from uniadapter.utils.processes import Died, map_in_processes


def work(number: int, what: str) -> tuple[int, int]:
    if what == "abort":
        # Its dump of the stack would look like a failure of the tests.
        faulthandler.disable()
        os.abort()
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "exit":
        os._exit(3)
    if what == "raise":
        raise ValueError(f"task {number}")
    time.sleep(0.01 * (number % 3))
    return number, os.getpid()


@pytest.mark.parametrize("workers", [1, 3])
def test_results_are_in_order_and_a_death_costs_one_task(workers: int) -> None:
    kinds = ["", "abort", "", "", "kill", "exit", "", "abort"]
    results = map_in_processes(work, enumerate(kinds), workers, "work:")
    codes = {"abort": -signal.SIGABRT, "kill": -signal.SIGKILL, "exit": 3}
    for number, (kind, result) in enumerate(zip(kinds, results, strict=True)):
        if kind:
            assert result == Died(codes[kind])
        else:
            assert result[0] == number
            assert result[1] != os.getpid()
    assert Died(-6).reason == "its process was ended by SIGABRT"
    assert "SIGKILL; was memory short?" in Died(-9).reason
    assert Died(3).reason == "its process ended with status 3"


def test_processes_take_several_tasks_each() -> None:
    results = map_in_processes(work, [(i, "") for i in range(12)], 2, "work:")
    assert [number for number, _ in results] == list(range(12))
    assert len({process for _, process in results}) <= 2


def test_an_error_is_the_callers() -> None:
    with pytest.raises(ValueError, match="task 1"):
        map_in_processes(work, [(0, ""), (1, "raise"), (2, "")], 2, "work:")
    assert map_in_processes(work, [], 2, "work:") == []
