"""Fixtures that several tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.helpers import write_vocab, write_world

# The test processes share the machine's cores.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_vocab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vocabulary file of the tiny models."""
    return write_vocab(tmp_path_factory.mktemp("vocab") / "vocab.txt")


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with 16 clips, their captions and a vocabulary."""
    return write_world(tmp_path_factory.mktemp("world"))
