"""Freed tensors go back to the system, in a process of their own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

from tests.spawn import apart
from uniadapter.engine.launch import return_freed_memory


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def keep(fixed: bool) -> None:
    # As on a machine without a GPU.
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ.pop("MALLOC_MMAP_THRESHOLD_", None)
    if fixed:
        assert return_freed_memory()
    warm = torch.zeros(7 << 20)
    del warm
    before = resident()
    # 80 blocks of 3 MiB, below the threshold that a larger one has set; every other one is freed.
    blocks = [torch.ones(3 << 18) for _ in range(80)]
    every_other = blocks[::2]
    del blocks
    assert (resident() - before < 180 << 20) == fixed
    del every_other


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
@pytest.mark.parametrize("fixed", [True, False])
def test_freed_tensors_are_given_back(fixed: bool):
    apart(keep, fixed)


def test_the_users_own_settings_stay(monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert not return_freed_memory()
