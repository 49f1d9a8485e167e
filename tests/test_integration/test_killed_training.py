"""A real training, killed whenever it is and resumed, leaves what an uninterrupted one leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.helpers import ROOT, assert_equal, draws, write_run_cfg
from tests.test_engine.test_hooks.test_tap_store import dataset_cfg, model_cfg, write_world

pytestmark = pytest.mark.deep
EPOCHS = 3


def write_cfg(folder: Path, world: Path) -> Path:
    """A run that keeps taps, validates, and keeps its best and last checkpoints and adapters."""
    loader = {"batch_size": 4, "num_workers": 0}
    tested = {**dataset_cfg(world), "test_mode": True}
    plain = {"type": "DefaultSampler", "shuffle": False, "round_up": False}
    cfg: dict[str, Any] = {
        "model": model_cfg(world),
        "train_dataloader": {
            **loader,
            "sampler": {"type": "DefaultSampler", "shuffle": True},
            "dataset": dataset_cfg(world),
        },
        "val_dataloader": {**loader, "sampler": plain, "dataset": tested},
        "val_evaluator": {"type": "RetrievalMetric"},
        "val_cfg": {"type": "RetrievalValLoop", "k_test": 0},
        "test_cfg": None,
        "train_cfg": {"max_epochs": EPOCHS},
        "optim_wrapper": {"optimizer": {"lr": 1e-2}},
        "custom_hooks": [{"type": "TapStoreHook", "dir": str(folder / "taps"), "dtype": "float32"}],
        "default_hooks": {"checkpoint": {"max_keep_ckpts": 2, "save_best": "t2v/R1"}},
    }
    return write_run_cfg(folder / "cfg.py", cfg)


def started(folder: Path, world: Path) -> subprocess.Popen[bytes]:
    """A run of a folder, begun or resumed."""
    command = [sys.executable, "tools/train.py", write_cfg(folder, world)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with open(folder / "log.txt", "ab") as log:
        return subprocess.Popen(
            [*map(str, command), "--work-dir", str(folder), "--resume", "auto"],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
        )


def finished(folder: Path, world: Path) -> float:
    """Run to the end; the seconds that it took."""
    begin = time.monotonic()
    assert started(folder, world).wait(600) == 0, (folder / "log.txt").read_text()[-3000:]
    return time.monotonic() - begin


def left(folder: Path) -> dict[str, Any]:
    """All that a run leaves but its logs, and what killed runs began to write for the taps."""
    found: dict[str, Any] = {"taps": {}}
    for path in sorted((folder / "taps").rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            found["taps"][str(path.relative_to(folder))] = path.read_bytes()
    for path in sorted(folder.iterdir()):
        if path.suffix == ".pth":
            whole = torch.load(path, weights_only=True)
            parts = ("state_dict", "optimizer", "param_schedulers")
            found[path.name] = {part: whole.get(part) for part in parts}
        elif path.name.endswith("_adapter"):
            found[path.name] = {part.name: part.read_bytes() for part in sorted(path.iterdir())}
        elif path.name == "last_checkpoint":
            found[path.name] = Path(path.read_text()).name
        else:
            assert not path.name.startswith("."), "something half-written is left"
    return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"), media=12)


@pytest.fixture(scope="module")
def whole(world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], float]:
    """What an uninterrupted run leaves, and how long it takes."""
    folder = tmp_path_factory.mktemp("whole")
    seconds = finished(folder, world)
    return left(folder), seconds


@settings(
    max_examples=draws(1, deep=7),
    phases=(Phase.generate,),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(moments=st.lists(st.floats(0.2, 1), min_size=3, max_size=3))
def test_a_killed_and_resumed_training(
    moments: list[float],
    whole: tuple[dict[str, Any], float],
    world: Path,
    tmp_path_factory: pytest.TempPathFactory,
):
    expected, seconds = whole
    folder = tmp_path_factory.mktemp("killed")
    for share in moments:
        process = started(folder, world)
        try:
            process.wait(share * seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        assert process.wait() in (0, -signal.SIGKILL), (folder / "log.txt").read_text()[-3000:]
    finished(folder, world)
    assert_equal(expected, left(folder))
