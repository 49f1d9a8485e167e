from __future__ import annotations

import faulthandler
import os
import pickle
import signal
import struct
import time
from collections.abc import Iterator
from multiprocessing import active_children
from multiprocessing.connection import Connection

import pytest

from uniadapter.utils.processes import Died, map_in_processes, stream_in_processes


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


def many(number: int, count: int, what: str) -> Iterator[tuple[int, int]]:
    for place in range(count):
        yield number, place
    if what:
        work(number, what)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_many_results_come_in_order(workers: int) -> None:
    tasks = [(number, count, "") for number, count in enumerate([2, 0, 3, 1, 0, 2])]
    found = list(stream_in_processes(many, tasks, workers))
    assert found == [
        (number, (number, place)) for number, count, _ in tasks for place in range(count)
    ]
    assert list(stream_in_processes(many, [], workers)) == []
    with pytest.raises(ValueError, match="task 1"):
        list(stream_in_processes(many, [(0, 1, ""), (1, 1, "raise"), (2, 1, "")], workers))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_death_ends_the_results_of_one_task(workers: int) -> None:
    tasks = [(0, 1, "kill"), (1, 2, ""), (2, 0, "exit"), (3, 1, "")]
    found = list(stream_in_processes(many, tasks, workers))
    died = [(0, (0, 0)), (0, Died(-signal.SIGKILL)), (1, (1, 0)), (1, (1, 1)), (2, Died(3))]
    assert found == [*died, (3, (3, 0))]


def then_die(number: int, what: str) -> Iterator[tuple[int, int]]:
    """A result, behind whose end the process ends as well."""
    if what == "idle":
        before = Connection.send

        def send(connection: Connection, answer: object) -> None:
            before(connection, answer)
            if answer == (False, None, None):
                os.kill(os.getpid(), signal.SIGKILL)

        # Of this process alone, which ends by it.
        Connection.send = send  # type: ignore[method-assign]
    yield number, os.getpid()


def test_a_process_that_dies_with_nothing_to_do_costs_no_task() -> None:
    kinds, found = ["idle", "", "idle", "idle"], []
    for number, (own, process) in stream_in_processes(then_die, enumerate(kinds), 1):
        found.append((number, own))
        while kinds[number] and process in [child.pid for child in active_children()]:
            time.sleep(0.01)
    assert found == [(number, number) for number in range(4)]


def send_half(number: int) -> bytes:
    if number == 1:

        def send(connection: Connection, answer: object) -> None:
            content = pickle.dumps(answer)
            os.write(connection.fileno(), struct.pack("!i", len(content)) + content[:-9])
            os.kill(os.getpid(), signal.SIGKILL)

        Connection.send = send  # type: ignore[method-assign]
    return bytes(100)


def test_a_process_that_dies_in_the_middle_of_an_answer() -> None:
    results = map_in_processes(send_half, [(0,), (1,), (2,)], 1, None)
    assert results == [bytes(100), Died(-signal.SIGKILL), bytes(100)]
