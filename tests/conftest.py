"""Fixtures that several tests share."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from tests.helpers import write_vocab, write_world

# The core suite draws the same inputs every time, so that a failure is the change's own; the deep
# one (`bash tools/run_tests.sh --all`) draws others every time. A test that sets its number of
# examples keeps it, unless it scales it with `draws` of tests/helpers.py.
_COMMON = {
    "deadline": None,
    "suppress_health_check": [
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.large_base_example,
    ],
}
settings.register_profile("core", derandomize=True, database=None, **_COMMON)
settings.register_profile("deep", max_examples=500, print_blob=True, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "core"))

# The test processes share the machine's cores.
torch.set_num_threads(1)

# What a test draws must not hang on the tests that ran before it in its process. Another seed
# (`TEST_SEED=7 bash tools/run_tests.sh`) shows which tests stand on the luck of theirs.
_SEED = int(os.environ.get("TEST_SEED", "0"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Gives every test the same random numbers, whatever ran before."""
    torch.manual_seed(_SEED)
    np.random.seed(_SEED)
    random.seed(_SEED)


@pytest.fixture(scope="session")
def tiny_vocab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vocabulary file of the tiny models."""
    return write_vocab(tmp_path_factory.mktemp("vocab") / "vocab.txt")


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with 16 clips, their captions and a vocabulary."""
    return write_world(tmp_path_factory.mktemp("world"))
