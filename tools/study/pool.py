"""Run jobs side by side, a process each; one that fails or dies takes nobody with it."""

from __future__ import annotations

import gc
import multiprocessing
import signal
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from tools.study.plan import Job
from tools.study.results import Store
from tools.study.trials import Trial, config_of
from uniadapter.utils.processes import Died

#: Trains and tests a config in a folder for its logs, and returns what it measured.
Run = Callable[[Any, Path], dict[str, Any]]


class Failure(NamedTuple):
    """A job without a result, and why."""

    job: Job
    reason: str


class _Running(NamedTuple):
    job: Job
    trial: Trial
    process: BaseProcess


def run_jobs(
    jobs: Sequence[Job], store: Store, run: Run, workers: int, work_dir: Path
) -> list[Failure]:
    """Run what has no valid result, ``workers`` at a time, in order.

    A job whose rate is not chosen yet is passed over until it is.

    Args:
        jobs: See :func:`plan.plan`.
        store: Where results are looked up and written: by this process alone, and whole.
        run: What a child process does.
        workers: Processes at once.
        work_dir: Folder of the logs.

    Returns:
        The jobs that failed, or could not begin since a rate is missing.
    """
    pending, failures = list(jobs), list[Failure]()
    running: dict[Connection, _Running] = {}
    previous = signal.signal(signal.SIGTERM, _stop)
    try:
        while pending or running:
            while len(running) < workers and (found := _next(pending, store, running, failures)):
                running.update([_start(*found, store, run, work_dir)])
            if not running:
                break
            for connection in wait(list(running)):
                done = running.pop(connection)
                reason = _finish(done, connection, store)
                if reason is not None:
                    failures.append(Failure(done.job, reason))
                _say(done, reason)
    finally:
        for left in running.values():
            left.process.kill()
            left.process.join()
        signal.signal(signal.SIGTERM, previous)
    missing = "the learning rate of its family is not chosen: other trials are missing"
    return failures + [Failure(job, missing) for job in pending]


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _next(
    pending: list[Job],
    store: Store,
    running: dict[Connection, _Running],
    failures: list[Failure],
) -> tuple[Job, Trial] | None:
    """Take the first job that can begin; drop those that are done, running or have failed."""
    busy = {one.trial for one in running.values()}
    for job in list(pending):
        try:
            trial = job.trial(store)
            if trial is None:
                continue
            pending.remove(job)
            if trial not in busy and store.read(trial) is None:
                return job, trial
        except (OSError, ValueError) as error:
            failures.append(Failure(job, str(error)))
            if job in pending:
                pending.remove(job)
    return None


def _start(
    job: Job, trial: Trial, store: Store, run: Run, work_dir: Path
) -> tuple[Connection, _Running]:
    print(f"{job} ...", flush=True)
    # A fork has the packages imported and the clips decoded; models are small, threads none.
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    folder = trial.file(work_dir).with_suffix("")
    cfg = config_of(trial, store.setting)
    process = context.Process(target=_child, args=(cfg, folder, run, there), daemon=True)
    process.start()
    there.close()
    return here, _Running(job, trial, process)


def _child(cfg: Any, folder: Path, run: Run, connection: Connection) -> None:
    # What the parent left to be collected may wait for threads that a fork doesn't copy.
    gc.freeze()
    # Interrupts are the parent's, which ends its children.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "output.txt"
    with log.open("w", encoding="utf-8") as file, redirect_stdout(file), redirect_stderr(file):
        try:
            answer = run(cfg, folder), None
        # Whatever it is, the other rows go on.
        except Exception as error:
            traceback.print_exc()
            answer = None, f"{type(error).__name__}: {error} (see {log})"
    connection.send(answer)


def _finish(done: _Running, connection: Connection, store: Store) -> str | None:
    """Write the result of a process; return what went wrong."""
    try:
        result, reason = connection.recv()
    except EOFError:
        done.process.join()
        return Died(done.process.exitcode or 0).reason
    finally:
        connection.close()
    done.process.join()
    if reason is None:
        store.write(done.trial, result)
    return reason


def _say(done: _Running, reason: str | None) -> None:
    print(f"{done.job}: {'done' if reason is None else f'FAILED: {reason}'}", flush=True)
