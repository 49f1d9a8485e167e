"""A real training, killed whenever it is and resumed, leaves what an uninterrupted one leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.helpers import ROOT, assert_equal, draws, write_run_cfg
from tests.test_engine.test_hooks.test_tap_store import dataset_cfg, model_cfg, write_world
from tests.test_integration import test_generative_tasks as generative

pytestmark = pytest.mark.deep
EPOCHS = 3


def taps_cfg(world: Path, folder: Path) -> dict[str, Any]:
    """A run that keeps taps, validates, and keeps its best and last checkpoints and adapters."""
    loader = {"batch_size": 4, "num_workers": 0}
    tested = {**dataset_cfg(world), "test_mode": True}
    plain = {"type": "DefaultSampler", "shuffle": False, "round_up": False}
    return {
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


def results_cfg(cfg: dict[str, Any]) -> dict[str, Any]:
    """A run that validates often, and writes its answers or captions to a file each time."""
    cfg["train_cfg"] = {"max_epochs": EPOCHS, "val_interval": 1}
    cfg["default_hooks"] = {"checkpoint": {"max_keep_ckpts": 2}}
    return cfg


class Run(NamedTuple):
    """What an uninterrupted run of a kind leaves, and how long it takes."""

    kind: str
    world: Path
    left: dict[str, Any]
    seconds: float


class Kind(NamedTuple):
    """A run: its data, and its config by them and its folder."""

    world: Callable[[Path], Path]
    cfg: Callable[[Path, Path], dict[str, Any]]


KINDS = {
    "taps": Kind(partial(write_world, media=12), taps_cfg),
    "captions": Kind(generative.write_world, lambda *at: results_cfg(generative.caption_cfg(*at))),
    "answers": Kind(generative.write_world, lambda *at: results_cfg(generative.vqa_cfg(*at))),
}


def started(folder: Path, run: Run) -> subprocess.Popen[bytes]:
    """A run of a folder, begun or resumed."""
    path = write_run_cfg(folder / "cfg.py", KINDS[run.kind].cfg(run.world, folder))
    command = [sys.executable, "tools/train.py", path]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with open(folder / "log.txt", "ab") as log:
        return subprocess.Popen(
            [*map(str, command), "--work-dir", str(folder), "--resume", "auto"],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
        )


def finished(folder: Path, run: Run) -> float:
    """Run to the end; the seconds that it took."""
    begin = time.monotonic()
    assert started(folder, run).wait(600) == 0, (folder / "log.txt").read_text()[-3000:]
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
        elif path.suffix == ".json":
            found[path.name] = json.loads(path.read_bytes())
        elif path.name == "last_checkpoint":
            found[path.name] = Path(path.read_text()).name
        else:
            assert not path.name.startswith("."), "something half-written is left"
    return found


@pytest.fixture(scope="module", params=sorted(KINDS))
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    world = KINDS[request.param].world(tmp_path_factory.mktemp("world"))
    folder = tmp_path_factory.mktemp("whole")
    run = Run(request.param, world, {}, 0)
    return run._replace(seconds=finished(folder, run), left=left(folder))


@settings(
    max_examples=draws(1, deep=7),
    phases=(Phase.generate,),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(moments=st.lists(st.floats(0.2, 1), min_size=3, max_size=3))
def test_a_killed_and_resumed_training(
    moments: list[float], run: Run, tmp_path_factory: pytest.TempPathFactory
):
    folder = tmp_path_factory.mktemp("killed")
    for share in moments:
        process = started(folder, run)
        try:
            process.wait(share * run.seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        assert process.wait() in (0, -signal.SIGKILL), (folder / "log.txt").read_text()[-3000:]
        # Whole or absent at any moment.
        for path in folder.glob("[!.]*.json"):
            assert len(json.loads(path.read_bytes())) == len(run.left[path.name])
    finished(folder, run)
    assert_equal(run.left, left(folder))
