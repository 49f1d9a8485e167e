"""An adapter saved over another one by a process that is killed: one of the two, or an error."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from tests.kills import in_child, killed
from tests.model_helpers import models_of
from tests.test_checkpoints.test_layouts.test_written import config_of, saved
from uniadapter.apis import AutoAdapterModel
from uniadapter.apis.convert import convert_checkpoint
from uniadapter.checkpoints import files
from uniadapter.checkpoints.adapter import load_adapter, save_adapter
from uniadapter.checkpoints.files import CONFIG_NAME, WEIGHTS_NAME, read
from uniadapter.checkpoints.state import TRAINING_STATE, trained_state_dict
from uniadapter.utils.leftovers import temporary_inside

if not hasattr(os, "fork"):
    pytest.skip("needs processes that can be forked", allow_module_level=True)

State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, dict[str, Any]]]:
    """Two models of one size, whose adapters differ in weights and in an option without any."""
    return models_of(tmp_path_factory.mktemp("models"), {"scale": 1.0}, {"scale": 2.0})


def _save(kind: str, model: Any, cfg: dict[str, Any], folder: Path) -> None:
    torch.set_num_threads(1)
    if kind == "adapter":
        save_adapter(model, folder)
    else:
        model.save_pretrained(folder, cfg, with_backbone=True)


def _facts(state: State, scale: float) -> tuple[float, dict[str, bytes]]:
    kept = {name for name in state if not name.startswith(TRAINING_STATE)}
    return scale, {name: state[name].numpy().tobytes() for name in sorted(kept)}


def _loaded(kind: str, folder: Path) -> Any:
    """The option and all weights of what a folder is loaded as; None if it says that it is none."""
    said = ""
    try:
        if kind == "adapter":
            content = read(folder)
            return _facts(content.tensors, content.meta["options"]["scale"])
        found = AutoAdapterModel.from_pretrained(folder)
        return _facts(found.state_dict(), found.adapter.options["scale"])
    except (FileNotFoundError, ValueError) as error:
        said = str(error)
    assert str(folder) in said
    begun = folder.is_dir() and any(folder.iterdir())
    assert not begun or "save or copy the adapter again" in said
    return None


@pytest.mark.parametrize("kind", ["adapter", "shared"])
@settings(max_examples=draws(4, deep=60), phases=(Phase.generate,))
@given(old=st.booleans(), at=st.integers(0, 30), after=st.booleans())
def test_an_adapter(
    kind: str,
    old: bool,
    at: int,
    after: bool,
    models: list[tuple[Any, dict[str, Any]]],
    tmp_path_factory: pytest.TempPathFactory,
):
    folder = tmp_path_factory.mktemp("killed") / "adapter"
    allowed: list[Any] = [None]
    for model, _ in models:
        state = trained_state_dict(model) if kind == "adapter" else model.state_dict()
        allowed.append(_facts(state, model.adapter.options["scale"]))
    if old:
        _save(kind, *models[0], folder)
    killed(lambda: _save(kind, *models[1], folder), at, after)
    assert _loaded(kind, folder) in (allowed if old else [None, allowed[2]])
    _save(kind, *models[1], folder)
    assert _loaded(kind, folder) == allowed[2]
    assert not list(folder.parent.rglob(".*"))


def test_what_is_said_of_weights_alone(models: Any, tmp_path: Path):
    save_adapter(models[0][0], tmp_path)
    (tmp_path / CONFIG_NAME).unlink()
    loaders: list[Callable[[], Any]] = [
        lambda: read(tmp_path),
        lambda: load_adapter(models[0][0], tmp_path),
        lambda: load_adapter(models[0][0], tmp_path / WEIGHTS_NAME),
        lambda: AutoAdapterModel.from_pretrained(tmp_path),
    ]
    for load in loaders:
        with pytest.raises(FileNotFoundError, match=r"adapter_config\.json is missing: .*again\."):
            load()


def test_a_save_between_two_files_that_are_read(
    models: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    allowed = [_facts(trained_state_dict(m), m.adapter.options["scale"]) for m, _ in models]
    save_adapter(models[0][0], tmp_path)
    plain, saves = files.read_safetensors, []

    def saved_first(path: Path) -> State:
        if not saves:
            saves.append(save_adapter(models[1][0], tmp_path))
        return plain(path)

    monkeypatch.setattr(files, "read_safetensors", saved_first)
    assert _loaded("adapter", tmp_path) == allowed[1]


def test_a_head_that_is_away_while_its_folder_is_saved(
    models: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    save_adapter(models[0][0], tmp_path)
    inside = temporary_inside(tmp_path)
    inside.mkdir()
    (tmp_path / CONFIG_NAME).rename(inside / CONFIG_NAME)
    waits = []

    def put_back(seconds: float) -> None:
        waits.append(seconds)
        (inside / CONFIG_NAME).rename(tmp_path / CONFIG_NAME)

    monkeypatch.setattr(files.time, "sleep", put_back)
    assert _loaded("adapter", tmp_path) is not None
    assert len(waits) == 1


@pytest.mark.deep
def test_a_reader_beside_a_writer(models: Any, tmp_path: Path):
    """While one process saves the one and the other in turns, another reads one of them."""
    for model, _ in models:
        save_adapter(model, tmp_path)
    allowed = [_facts(trained_state_dict(m), m.adapter.options["scale"]) for m, _ in models]
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        while True:
            for model, _ in models:
                save_adapter(model, tmp_path)
    try:
        found = [_loaded("adapter", tmp_path) for _ in range(draws(40, deep=1000))]
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    # The writer never rests, and where others have the cores longer than the reader waits it is
    # told that the folder is not whole.
    assert [facts for facts in found if facts not in (*allowed, None)] == []
    assert sum(facts is None for facts in found) < len(found) / 10


@pytest.mark.deep
def test_a_folder_of_transformers(tmp_path: Path):
    sources, configs = [], []
    for seed in range(2):
        config = config_of("retrieval")
        (tmp_path / f"{seed}").mkdir()
        sources.append(saved(config, tmp_path / f"{seed}", seed)[1])
        configs.append(config)
    folder = tmp_path / "hf"

    def convert(number: int) -> None:
        torch.set_num_threads(1)
        convert_checkpoint(sources[number], folder, configs[number], target="hf")

    contents = []
    for number in range(2):
        convert(number)
        contents.append({p.name: p.read_bytes() for p in folder.iterdir()})
    at, more = 0, True
    while more:
        for after in (False, True):
            convert(0)
            more = killed(lambda: convert(1), at, after)
            found = {p.name: p.read_bytes() for p in folder.glob("[!.]*")}
            assert found in contents or "config.json" not in found
        at += 1
    assert in_child(lambda: convert(1)) == 0
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == contents[1]
