"""Freed tensors go back to the system, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# 80 blocks of 3 MiB, below the threshold that a larger one has set; every other one is freed.
CODE = """
import torch
from uniadapter.engine.launch import return_freed_memory
if {fixed}:
    assert return_freed_memory()
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
warm = torch.zeros(7 << 20)
del warm
before = resident()
blocks = [torch.ones(3 << 18) for _ in range(80)]
every_other = blocks[::2]
del blocks
print((resident() - before) >> 20)
"""


def kept(fixed: bool) -> int:
    code = CODE.format(fixed=fixed)
    # As on a machine without a GPU.
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert result.returncode == 0, result.stderr
    return int(result.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_freed_tensors_are_given_back(monkeypatch):
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)
    assert kept(True) < 180 < kept(False)


def test_the_users_own_settings_stay(monkeypatch):
    from uniadapter.engine.launch import return_freed_memory

    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert not return_freed_memory()
