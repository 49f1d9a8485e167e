from __future__ import annotations

import pytest
import torch
from mmengine.config import Config

from uniadapter.engine import launch


@pytest.fixture
def no_gpu(monkeypatch) -> list[str]:
    """No GPU, and a record of what would have been initialised."""
    calls: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(
        launch.torch_dist, "init_process_group", lambda backend, **_: calls.append(backend)
    )
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    return calls


def base_cfg(**extra) -> Config:
    return Config({"env_cfg": {"dist_cfg": {"backend": "nccl"}}, **extra})


def test_one_process_is_left_alone(no_gpu):
    cfg = base_cfg()
    launch.setup_distributed(cfg, "none")
    assert cfg.launcher == "none"
    assert cfg.env_cfg.dist_cfg.backend == "nccl"
    assert no_gpu == []


def test_without_gpus_the_backend_is_gloo_and_the_wrapper_has_no_device(no_gpu, monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    cfg = base_cfg(find_unused_parameters=True)
    launch.setup_distributed(cfg, "pytorch")
    assert no_gpu == ["gloo"]
    assert cfg.env_cfg.dist_cfg.backend == "gloo"
    assert cfg.model_wrapper_cfg == {
        "type": "MMDistributedDataParallel",
        "broadcast_buffers": False,
        "find_unused_parameters": True,
        "device_ids": None,
    }


def test_with_gpus_mmengine_does_it(monkeypatch, no_gpu):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    cfg = base_cfg()
    launch.setup_distributed(cfg, "pytorch")
    assert cfg.env_cfg.dist_cfg.backend == "nccl"
    assert "model_wrapper_cfg" not in cfg
    assert no_gpu == []


@pytest.mark.parametrize(
    ("launcher", "names"),
    [
        ("slurm", ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")),
        ("mpi", ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK")),
    ],
)
def test_cluster_launchers_give_the_rank(no_gpu, monkeypatch, launcher: str, names):
    for name, value in zip(names, ("3", "4", "1"), strict=True):
        monkeypatch.setenv(name, value)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "127.0.0.1" if name == "MASTER_ADDR" else "0")
    launch.setup_distributed(base_cfg(), launcher)
    assert no_gpu == ["gloo"]
    found = {name: launch.os.environ[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    assert found == {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}


def test_missing_environment_is_explained(no_gpu, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ValueError, match="RANK is not set: start the processes with"):
        launch.setup_distributed(base_cfg(), "pytorch")


def test_unknown_launcher_is_refused():
    with pytest.raises(ValueError, match="'torchrun' is unknown: use one of none, pytorch"):
        launch.setup_distributed(base_cfg(), "torchrun")


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        (None, []),
        ("nccl", ["barrier", "destroy"]),
        ("gloo", ["barrier", "destroy", "shutdown", "exit 0"]),
    ],
)
def test_a_finished_run_leaves_the_group_together(monkeypatch, backend: str | None, expected):
    calls: list[str] = []
    group = launch.torch_dist
    monkeypatch.setattr(group, "is_initialized", lambda: backend is not None)
    monkeypatch.setattr(group, "get_backend", lambda: backend)
    monkeypatch.setattr(group, "barrier", lambda: calls.append("barrier"))
    monkeypatch.setattr(group, "destroy_process_group", lambda: calls.append("destroy"))
    monkeypatch.setattr(launch.logging, "shutdown", lambda: calls.append("shutdown"))
    monkeypatch.setattr(launch.os, "_exit", lambda status: calls.append(f"exit {status}"))
    launch.finish_distributed()
    assert calls == expected
