"""A training that is killed at any moment and resumed ends as if it had not been."""

from __future__ import annotations

import math
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from tests.helpers import assert_equal, draws
from tests.kills import DISK, in_child, killed
from tests.toy import ToyMetric, ToyModel, toy_runner
from uniadapter.engine.hooks import safe_checkpoint

if not hasattr(os, "fork"):
    pytest.skip("needs processes that can be forked", allow_module_level=True)

EPOCHS = 4
#: What changes something on the disk, and what happens between.
POINTS = [*DISK, (ToyModel, "forward"), (ToyMetric, "compute_metrics")]
#: Of the model that runs.
CURRENT: list[ToyModel] = []


def save_adapter(model: ToyModel, folder: Path, values: Any = None) -> None:
    """Two files, as an adapter has."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("weights", "config"):
        (folder / name).write_text(str(float((values or model.state_dict())["temp"])))


class Adapter:
    """What the hooks ask of one."""

    def obsolete(self, tensors: Any) -> set[str]:
        """Nothing was called otherwise once."""
        return set()


def measure(self: ToyMetric, results: list) -> dict[str, Any]:
    """A number that rises and falls with the weights."""
    return {"t2v/R1": math.sin(40 * float(CURRENT[-1].temp))}


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_checkpoint, "backbone_fingerprint", lambda model: "0")
    monkeypatch.setattr(safe_checkpoint, "save_adapter", save_adapter)
    monkeypatch.setattr(ToyModel, "adapter", Adapter(), raising=False)
    monkeypatch.setattr(ToyMetric, "compute_metrics", measure)


def train(folder: Path, by_epoch: bool) -> None:
    """Start or resume the run of a folder."""
    options: dict[str, Any] = {"max_keep_ckpts": 2, "save_best": "t2v/R1", "by_epoch": by_epoch}
    runner = toy_runner(
        folder, epochs=EPOCHS, validate=True, checkpoint=options, resume=True, log_level="ERROR"
    )
    # The package's own loop, which goes on inside an epoch.
    runner._train_loop = {"type": "EpochBasedTrainLoop", "max_epochs": EPOCHS}
    CURRENT.append(runner.model)
    runner.train()


def content(folder: Path) -> dict[str, Any]:
    """Everything that a run leaves but its logs, paths without their folder."""
    found: dict[str, Any] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".pth":
            whole = torch.load(path, weights_only=True)
            hub = whole["message_hub"]["runtime_info"]
            # Which entry of the hub came first is no part of a run.
            items = sorted(hub.items())
            hub = {k: Path(v).name if isinstance(v, str) else v for k, v in items}
            for key in ("cfg", "time", "experiment_name", "eta"):
                whole["meta"].pop(key, None)
                hub.pop(key, None)
            found[path.name] = {**whole, "message_hub": hub}
        elif path.name.endswith("_adapter"):
            found[path.name] = {file.name: file.read_text() for file in sorted(path.iterdir())}
        elif path.is_file() and path.suffix != ".py":
            found[path.name] = Path(path.read_text()).name
    return found


WHOLE: dict[bool, dict[str, Any]] = {}


@settings(max_examples=draws(1, deep=20), phases=(Phase.explicit, Phase.generate))
@example(by_epoch=True, kills=[(86, True), (128, False), (46, True)])
@example(by_epoch=False, kills=[(111, False), (41, False), (111, False)])
@given(
    by_epoch=st.booleans(),
    kills=st.lists(st.tuples(st.integers(0, 140), st.booleans()), min_size=1, max_size=3),
)
def test_killed_and_resumed(
    by_epoch: bool, kills: list[tuple[int, bool]], tmp_path_factory: pytest.TempPathFactory
):
    if by_epoch not in WHOLE:
        folder = tmp_path_factory.mktemp("whole")
        assert in_child(lambda: train(folder, by_epoch)) == 0
        WHOLE[by_epoch] = content(folder)
    folder = tmp_path_factory.mktemp("killed")
    for at, after in kills:
        killed(lambda: train(folder, by_epoch), at, after, POINTS)
    assert in_child(lambda: train(folder, by_epoch)) == 0
    assert_equal(WHOLE[by_epoch], content(folder))
    assert not list(folder.glob(".*"))
    shutil.rmtree(folder)


@pytest.mark.deep
@pytest.mark.parametrize("by_epoch", [True, False])
def test_killed_at_every_step(by_epoch: bool, tmp_path_factory: pytest.TempPathFactory):
    whole = tmp_path_factory.mktemp("whole")
    assert in_child(lambda: train(whole, by_epoch)) == 0
    expected, at, more = content(whole), 0, True
    while more:
        # Before each: after a step is before the next one.
        folder = tmp_path_factory.mktemp("killed")
        once = partial(train, folder, by_epoch)
        more = killed(once, at, False, POINTS)
        assert in_child(once) == 0
        assert_equal(expected, content(folder), f"step {at}")
        shutil.rmtree(folder)
        at += 1


def test_another_process_trains_in_the_folder(tmp_path: Path):
    """The second one is refused and changes nothing; when the first has ended, one may begin."""
    first = safe_checkpoint.WorkDirLock()
    assert first.take(tmp_path)

    def second() -> None:
        with pytest.raises(ValueError, match=rf"process {os.getppid()} on .* is training there"):
            train(tmp_path, True)

    assert in_child(second) == 0
    assert not list(tmp_path.glob("*.pth"))
    first.release()
    assert in_child(lambda: train(tmp_path, True)) == 0
    assert not list(tmp_path.glob(".*"))
