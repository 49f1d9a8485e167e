"""A world of which only the facts are there, and a store of results about it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.study.results import Store
from tools.study.trials import Setting

FACTS = {"options": {"train_videos": 20, "test_videos": 6, "captions": 3, "seed": 0}}


@pytest.fixture
def world(tmp_path: Path) -> Path:
    folder = tmp_path / "world"
    (folder / "msrvtt_qa").mkdir(parents=True)
    (folder / "world.json").write_text(json.dumps(FACTS), encoding="utf-8")
    (folder / "msrvtt_qa/part.json").write_text(json.dumps({"sha256": "0"}), encoding="utf-8")
    return folder


@pytest.fixture
def store(tmp_path: Path, world: Path) -> Store:
    return Store(tmp_path / "results", Setting(world, steps=4))
