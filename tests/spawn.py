"""Several processes that talk over gloo, for tests.

They are forked from a server, which imports what all of them need once for the whole suite: a
process that imports torch and the package anew computes for six seconds before its test begins.
The server has run no test, so its processes are as fresh as new ones. What they inherit is the
environment at the first call: a test hands its processes what they should see as an argument.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as torch_dist
import torch.multiprocessing as mp

from tests.helpers import ROOT, load_tool
from uniadapter.engine.launch import finish_distributed

multiprocessing.set_forkserver_preload(
    [
        *(f"uniadapter.{name}" for name in ("apis", "datasets", "engine", "evaluation", "models")),
        "torch.nn.parallel",
        "hypothesis",
        "pytest",
    ]
)


def _entry(rank: int, world: int, port: int, fn: Callable, packed: bytes) -> None:
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world))
    torch_dist.init_process_group("gloo", rank=rank, world_size=world)
    # An error ends the process here, and start_processes the others; see finish_distributed for
    # the rest.
    fn(rank, world, *torch.load(io.BytesIO(packed), weights_only=False))
    finish_distributed()


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def spawn(fn: Callable, world: int, *args: object) -> None:
    """Call ``fn(rank, world, *args)`` in as many processes; an error in one is raised here."""
    # As tensors of their own they would take a file descriptor each.
    packed = io.BytesIO()
    torch.save(args, packed)
    arguments = (world, free_port(), fn, packed.getvalue())
    mp.start_processes(_entry, args=arguments, nprocs=world, start_method="forkserver")


def _apart(index: int, fn: Callable, args: tuple) -> None:
    torch.set_num_threads(1)
    fn(*args)


def apart(fn: Callable, *args: object) -> None:
    """Call ``fn(*args)`` in a process of its own; an error there is raised here."""
    mp.start_processes(_apart, args=(fn, args), nprocs=1, start_method="forkserver")


def _call(script: str, arguments: list[str], log: str) -> None:
    with open(log, "ab") as stream:
        for output in (1, 2):
            os.dup2(stream.fileno(), output)
    os.chdir(ROOT)
    load_tool(script).main(arguments)


def _rank(rank: int, world: int, *call: Any) -> None:
    _call(*call)


def run_tool_apart(script: str, *arguments: str | Path, log: Path, world: int | None = None) -> str:
    """Call the ``main`` of ``tools/<script>`` in a process at the root; what it prints.

    Args:
        script: The tool, below ``tools/``.
        *arguments: Its command line.
        log: File that what it prints is added to.
        world: So many processes do what torchrun would have them do.
    """
    call = (script, [str(argument) for argument in arguments], str(log))
    if world is None:
        apart(_call, *call)
    else:
        spawn(_rank, world, call[0], [*call[1], "--launcher", "pytorch"], call[2])
    return log.read_text()
