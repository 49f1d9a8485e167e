"""Several processes that talk over gloo, for tests."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import torch
import torch.distributed as torch_dist
import torch.multiprocessing as mp

from uniadapter.engine.launch import finish_distributed


def _entry(rank: int, world: int, port: int, fn: Callable, args: tuple) -> None:
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch_dist.init_process_group("gloo", rank=rank, world_size=world)
    # An error ends the process here, and mp.spawn the others; see finish_distributed for the rest.
    fn(rank, world, *args)
    finish_distributed()


def spawn(fn: Callable, world: int, *args: object) -> None:
    """Call ``fn(rank, world, *args)`` in as many processes; an error in one is raised here."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    mp.spawn(_entry, args=(world, port, fn, args), nprocs=world)
