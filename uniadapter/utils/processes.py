"""Work in processes that may die: a decoder that meets a broken file can end its process."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Any, NamedTuple

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Died(NamedTuple):
    """What stands in the place of a result when the process of a task ended without one.

    Attributes:
        exitcode: That of the process; the negative number of the signal that ended it.
    """

    exitcode: int

    @property
    def reason(self) -> str:
        """What happened, in words."""
        if self.exitcode >= 0:
            return f"its process ended with status {self.exitcode}"
        name = signal.Signals(-self.exitcode).name
        hint = "; was memory short?" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{hint}"


class _Worker(NamedTuple):
    process: BaseProcess
    connection: Connection
    task: int


#: What a process runs: it answers the tasks of a connection by a function.
_Serve = Callable[[Callable[..., Any], Connection], None]


def map_in_processes(
    func: Callable[..., Any], tasks: Iterable[tuple], workers: int, description: str | None
) -> list[Any]:
    """Call a function for every task, in processes of their own, under a bar of progress.

    A process that dies takes its one task with it; another takes its place.

    Args:
        func: The function; it, its arguments and its results must be picklable.
        tasks: The arguments of each call.
        workers: Processes at once.
        description: What the bar of progress says; None: there is no bar.

    Returns:
        The results in the order of the tasks, :class:`Died` where there is none.

    Raises:
        Exception: The first that a call raises.
    """
    queue = deque(enumerate(tasks))
    results: list[Any] = [None] * len(queue)
    running: dict[int, _Worker] = {}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    try:
        # Drawn from here alone: a thread that draws may hold a lock when a process is forked.
        with Progress(*columns, auto_refresh=False, disable=description is None) as bar:
            line = bar.add_task(description or "", total=len(queue))
            for _ in range(min(workers, len(queue))):
                _hand_out(queue, running, func, _serve)
            while running:
                ready = wait([worker.connection for worker in running.values()])
                for worker in [w for w in running.values() if w.connection in ready]:
                    del running[worker.task]
                    results[worker.task] = _result_of(worker)
                    bar.update(line, advance=1, refresh=True)
                    died = isinstance(results[worker.task], Died)
                    if queue:
                        _hand_out(queue, running, func, _serve, None if died else worker)
                    elif not died:
                        _dismiss(worker)
    finally:
        for worker in running.values():
            worker.process.terminate()
    return results


def stream_in_processes(
    func: Callable[..., Iterable[Any]], tasks: Iterable[tuple], workers: int
) -> Iterator[tuple[int, Any]]:
    """Call a function that gives many results for every task, in processes of their own.

    A process goes one result ahead of what is taken, so that results may be large. One that dies
    takes its task with it; another takes its place. What is given doesn't depend on the number of
    processes.

    Args:
        func: The function; it, its arguments and its results must be picklable.
        tasks: The arguments of each call.
        workers: Processes at once; 0: the calls are made here.

    Yields:
        The number of a task and one of its results, task by task in their order; :class:`Died`
        behind the results of one whose process ended.

    Raises:
        Exception: The first that a call raises.
    """
    queue = deque(enumerate(tasks))
    if not workers:
        for number, task in queue:
            for result in func(*task):
                yield number, result
        return
    running: dict[int, _Worker] = {}
    try:
        for _ in range(min(workers, len(queue))):
            _hand_out(queue, running, func, _serve_many)
        while running:
            number = min(running)
            worker = running[number]
            died = False
            for result in _results_of(worker):
                died = isinstance(result, Died)
                yield number, result
            del running[number]
            if queue:
                _hand_out(queue, running, func, _serve_many, None if died else worker)
            elif not died:
                _dismiss(worker)
    finally:
        for worker in running.values():
            worker.process.terminate()


def _results_of(worker: _Worker) -> Iterator[Any]:
    """The results of a task that :func:`_serve_many` works on."""
    while True:
        answer = _received(worker)
        if isinstance(answer, Died):
            yield answer
            return
        more, result, error = answer
        if error is not None:
            raise error
        if not more:
            return
        yield result


def _serve_many(func: Callable[..., Iterable[Any]], connection: Connection) -> None:
    """As :func:`_serve`, of a function that gives many results."""
    gc.freeze()
    # The parent is interrupted as well, and ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        # Nobody takes what is being sent when the parent is killed, and the pipe doesn't end.
        Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    while (task := connection.recv()) is not None:
        try:
            for result in func(*task):
                connection.send((True, result, None))
            connection.send((False, None, None))
        # Whatever it is, it is the caller's.
        except Exception as error:
            connection.send((False, None, error))


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _start(func: Callable[..., Any], serve: _Serve) -> tuple[BaseProcess, Connection]:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=serve, args=(func, there), daemon=True)
    process.start()
    # Only then does the death of the process close the pipe.
    there.close()
    return process, here


def _hand_out(
    queue: deque[tuple[int, tuple]],
    running: dict[int, _Worker],
    func: Callable[..., Any],
    serve: _Serve,
    idle: _Worker | None = None,
) -> None:
    """Give the next task to a process that has none, or to a new one."""
    number, task = queue.popleft()
    if idle is not None:
        try:
            idle.connection.send(task)
            running[number] = _Worker(idle.process, idle.connection, number)
            return
        except OSError:
            # It ended while it had nothing to do: that costs no task.
            idle.process.join()
    process, connection = _start(func, serve)
    # The result of one that ended before it had its task says so.
    with contextlib.suppress(OSError):
        connection.send(task)
    running[number] = _Worker(process, connection, number)


def _dismiss(worker: _Worker) -> None:
    """Tell a process that there are no more tasks."""
    # Other processes hold copies of the pipe: closing it would say nothing. It may have ended.
    with contextlib.suppress(OSError):
        worker.connection.send(None)


def _received(worker: _Worker) -> Any:
    """What a process sends; :class:`Died` where it ended instead, perhaps in the middle of it."""
    try:
        return worker.connection.recv()
    except (EOFError, OSError):
        worker.process.join()
        return Died(worker.process.exitcode or 0)


def _result_of(worker: _Worker) -> Any:
    answer = _received(worker)
    if isinstance(answer, Died):
        return answer
    result, error = answer
    if error is not None:
        worker.process.terminate()
        raise error
    return result


def _serve(func: Callable[..., Any], connection: Connection) -> None:
    """Answer tasks until there are no more, or nobody who asks."""
    # What the parent left to be collected may wait for threads that a fork doesn't copy.
    gc.freeze()
    parent = multiprocessing.parent_process()
    while True:
        # The pipe doesn't end when the parent is killed, for the same reason.
        ready = wait([connection, *([parent.sentinel] if parent else [])])
        task = connection.recv() if connection in ready else None
        if task is None:
            return
        answer: tuple[Any, Exception | None]
        try:
            answer = func(*task), None
        # Whatever it is, it is the caller's.
        except Exception as error:
            answer = None, error
        connection.send(answer)
