"""What a training or test process sets up before the runner: processes, backend, memory."""

from __future__ import annotations

import ctypes
import datetime
import logging
import os
import sys

import torch
import torch.distributed as torch_dist
from mmengine.config import Config
from mmengine.runner import FlexibleRunner

from uniadapter.engine.runner.check_strategy import runner_class, strategy_name

LAUNCHERS = ("none", "pytorch", "slurm", "mpi")
# malloc.h's M_TRIM_THRESHOLD and M_MMAP_THRESHOLD.
_TRIM, _MMAP = -1, -3
_BLOCK_BYTES = 1 << 20
_WRAPPER = {"type": "MMDistributedDataParallel"}


def setup_distributed(cfg: Config, launcher: str = "none", local_rank: int = 0) -> None:
    """Prepare the processes of a run, on machines without GPUs too.

    With GPUs MMEngine does it all. Without them its launcher still selects a CUDA device and gives
    ``DistributedDataParallel`` a device id, and both fail; so the process group is made here, with
    gloo, and the config gets a wrapper without device ids.

    Args:
        cfg: The config of the run; ``launcher``, ``env_cfg.dist_cfg.backend`` and
            ``model_wrapper_cfg`` (``strategy.model_wrapper`` of a ``FlexibleRunner``) are set in
            place.
        launcher: ``'none'``, ``'pytorch'`` (torchrun), ``'slurm'`` or ``'mpi'``.
        local_rank: Index of this process on its machine, where the launcher does not say so in
            the environment.

    Raises:
        ValueError: If the launcher is unknown, or its environment variables are missing.
    """
    if launcher not in LAUNCHERS:
        raise ValueError(f"--launcher {launcher!r} is unknown: use one of {', '.join(LAUNCHERS)}.")
    return_freed_memory()
    os.environ.setdefault("LOCAL_RANK", str(local_rank))
    cfg.launcher = launcher
    if launcher == "none" or torch.cuda.is_available():
        return
    cfg.merge_from_dict({"env_cfg": {"dist_cfg": {"backend": "gloo"}}})
    if issubclass(runner_class(cfg), FlexibleRunner):
        _keep_strategy_off_devices(cfg)
    else:
        wrapper = cfg.get("model_wrapper_cfg")
        if wrapper is None:
            unused = cfg.get("find_unused_parameters", False)
            wrapper = {"broadcast_buffers": False, "find_unused_parameters": unused}
        cfg.model_wrapper_cfg = {**_WRAPPER, **wrapper, "device_ids": None}
    if not torch_dist.is_initialized():
        _init_gloo(launcher, cfg.env_cfg.dist_cfg.get("timeout"))


def _keep_strategy_off_devices(cfg: Config) -> None:
    """Give the wrapper of a strategy no device ids; other strategies than DDP have none."""
    if strategy_name(cfg) != "DDPStrategy":
        return
    strategy = cfg.get("strategy") or {"type": "DDPStrategy"}
    wrapper = strategy.get("model_wrapper") or {"broadcast_buffers": False}
    cfg.strategy = {**strategy, "model_wrapper": {**_WRAPPER, **wrapper, "device_ids": None}}


def return_freed_memory() -> bool:
    """Make glibc give freed tensors back to the system at once, where training is on the CPU.

    By default glibc raises its threshold for mapped blocks with every large block that is freed and
    keeps what lies below it, although nothing uses it. GPU memory has
    torch's own allocator and is not affected.

    Returns:
        bool: Whether it was set; not with a GPU, another C library or ``MALLOC_*`` variables of
        the user's own.
    """
    own = any(name.startswith("MALLOC_") for name in os.environ)
    if own or torch.cuda.is_available() or not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP, _BLOCK_BYTES) and mallopt(_TRIM, _BLOCK_BYTES))


def finish_distributed() -> None:
    """Leave the process group together, as the last thing that a run that went well does.

    With gloo the process ends here. The wrapped model keeps the group's threads alive, and one of
    them that drops a tensor while the interpreter shuts down aborts the process (seen once in ten
    runs on a busy machine), which torchrun takes for a failed run.
    """
    if not (torch_dist.is_available() and torch_dist.is_initialized()):
        return
    torch_dist.barrier()
    backend = torch_dist.get_backend()
    torch_dist.destroy_process_group()
    if backend == "gloo":
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _init_gloo(launcher: str, timeout: float | None) -> None:
    if launcher == "slurm":
        rank, world = _first_env("SLURM_PROCID"), _first_env("SLURM_NTASKS")
        os.environ["LOCAL_RANK"] = os.environ.get("SLURM_LOCALID", "0")
    elif launcher == "mpi":
        rank, world = _first_env("OMPI_COMM_WORLD_RANK"), _first_env("OMPI_COMM_WORLD_SIZE")
        os.environ["LOCAL_RANK"] = os.environ.get("OMPI_COMM_WORLD_LOCAL_RANK", "0")
    else:
        rank, world = _first_env("RANK"), _first_env("WORLD_SIZE")
    os.environ["RANK"], os.environ["WORLD_SIZE"] = rank, world
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", "29500")
    seconds = 1800.0 if timeout is None else float(timeout)
    torch_dist.init_process_group(backend="gloo", timeout=datetime.timedelta(seconds=seconds))


def _first_env(name: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise ValueError(
            f"The environment variable {name} is not set: start the processes with "
            "tools/dist_train.sh (torchrun), tools/slurm_train.sh or mpirun, or use "
            "--launcher none."
        )
    return value
