"""Processes that read media and make previews, each job within a time limit."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import select
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

_PROGRAM = Path(__file__).with_name("media_worker.py")
# Run by path: as a module of the package it would wait seconds for torch.
_START = "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')"


class WorkerError(Exception):
    """A job that failed; the text says why, as the rest of a sentence about its medium."""


class _Worker:
    """One process, started at its first job and again after one that it did not survive."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None

    def ask(self, job: dict[str, Any], timeout: float) -> dict[str, Any]:
        """Do a job.

        Raises:
            WorkerError: If it fails, takes too long or ends the process.
        """
        if self.process is None or self.process.poll() is not None:
            self.process = self._started()
        try:
            line = self._exchange(self.process, json.dumps(job).encode("ascii"), timeout)
        except (BrokenPipeError, TimeoutError) as error:
            self.close()
            slow = isinstance(error, TimeoutError)
            reason = f"it took longer than {timeout:g} seconds" if slow else "its decoder crashed"
            raise WorkerError(reason) from error
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    @staticmethod
    def _started() -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                [sys.executable, "-c", _START, str(_PROGRAM)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=os.path.abspath(os.sep),
                # Ctrl-C at the terminal is for the server, which ends its workers.
                start_new_session=True,
            )
        except OSError as error:
            # The machine has no room for it, or this user may not run the interpreter.
            reason = error.strerror or error
            raise WorkerError(f"the process that reads it can't be started ({reason})") from error

    @staticmethod
    def _exchange(process: subprocess.Popen[bytes], question: bytes, timeout: float) -> bytes:
        if process.stdin is None or process.stdout is None:
            raise BrokenPipeError
        process.stdin.write(question + b"\n")
        process.stdin.flush()
        pipe, poll = process.stdout.fileno(), select.poll()
        poll.register(pipe, select.POLLIN)
        deadline = time.monotonic() + timeout
        line = b""
        while not line.endswith(b"\n"):
            if not poll.poll(max(0.0, 1000 * (deadline - time.monotonic()))):
                raise TimeoutError
            part = os.read(pipe, 65536)
            if not part:
                raise BrokenPipeError
            line += part
        return line

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    pipe.close()
            self.process = None


class WorkerPool:
    """Some processes, and as many threads that wait for them.

    Args:
        size: How many.
        timeout: Seconds that a job may take.
    """

    def __init__(self, size: int, timeout: float) -> None:
        self.timeout = timeout
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="media")
        self._workers = [_Worker() for _ in range(size)]
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._closed = threading.Event()
        for worker in self._workers:
            self._idle.put(worker)

    async def ask(self, job: str, **arguments: Any) -> dict[str, Any]:
        """Have a job of :mod:`.media_worker` done.

        Raises:
            WorkerError: If it fails.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._ask, {"job": job, **arguments})

    def _ask(self, job: dict[str, Any]) -> dict[str, Any]:
        worker = self._idle.get()
        try:
            if self._closed.is_set():
                raise WorkerError("the server is ending")
            return worker.ask(job, self.timeout)
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """End all processes; jobs that run fail."""
        self._closed.set()
        for worker in self._workers:
            process = worker.process
            if process is not None:
                process.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for worker in self._workers:
            worker.close()
