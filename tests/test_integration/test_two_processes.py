"""Two processes that write to one target at once: one's result is there, whole, or both are."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from tests.at_once import at_once
from tests.helpers import draws
from tests.model_helpers import models_of
from uniadapter.apis.extraction.options import check_facts
from uniadapter.apis.inferencers.cache import PrototypeCache
from uniadapter.apis.model import build_model
from uniadapter.apis.publish import add_entry
from uniadapter.checkpoints.adapter import load_adapter, save_adapter
from uniadapter.checkpoints.files import write
from uniadapter.checkpoints.state import trained_state_dict
from uniadapter.datasets.tap_store import TapStore
from uniadapter.retrieval import Texts


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, dict[str, Any]]]:
    """Two models whose adapters differ in an option and so in all files, with their configs."""
    return models_of(tmp_path_factory.mktemp("models"), {"bottleneck": 3}, {"bottleneck": 4})


def _adapter(model: Any, cfg: dict[str, Any], folder: Path) -> None:
    save_adapter(model, folder)


def _shared(model: Any, cfg: dict[str, Any], folder: Path) -> None:
    model.save_pretrained(folder, cfg, with_backbone=True)


def _weights(model: Any, cfg: dict[str, Any], folder: Path) -> None:
    write(folder / "x.safetensors", trained_state_dict(model))


def _checkpoint(model: Any, cfg: dict[str, Any], folder: Path) -> None:
    write(folder / "x.pth", trained_state_dict(model), under="model")


def _texts(model: Any, cfg: dict[str, Any], folder: Path) -> None:
    size = cfg["model"]["adapter"]["bottleneck"]
    texts = Texts(*(torch.full((size, size), size) for _ in range(4)))
    PrototypeCache(folder / "x.safetensors").save_texts(texts, {"items": str(size)})


WRITERS: dict[str, Callable[[Any, dict[str, Any], Path], None]] = {
    "adapter": _adapter,
    "shared": _shared,
    "weights": _weights,
    "checkpoint": _checkpoint,
    "texts": _texts,
}


def tree(folder: Path) -> dict[str, Any]:
    return {path.name: _content(path) for path in folder.iterdir()}


def _content(path: Path) -> Any:
    """What a file says; archives have the temporary name of their file in them."""
    if path.suffix == ".pth":
        state, metadata = torch.load(path, weights_only=True)["model"], None
    elif path.suffix == ".safetensors":
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    else:
        return path.read_bytes()
    return metadata, {name: tensor.numpy().tobytes() for name, tensor in state.items()}


@pytest.mark.parametrize("name", sorted(WRITERS))
@settings(max_examples=draws(1, deep=30))
@example(old=True, times=2)
@given(old=st.booleans(), times=st.integers(1, 3))
def test_one_of_two_in_whole(
    name: str,
    old: bool,
    times: int,
    models: list[tuple[Any, dict[str, Any]]],
    tmp_path_factory: pytest.TempPathFactory,
):
    root = tmp_path_factory.mktemp("two")
    single = []
    for number, model in enumerate(models):
        WRITERS[name](*model, root / f"single{number}")
        single.append(tree(root / f"single{number}"))
    folder = root / "both"
    if old:
        WRITERS[name](*models[0], folder)

    def several(model: tuple[Any, dict[str, Any]]) -> None:
        for _ in range(times):
            WRITERS[name](*model, folder)

    assert at_once(*(partial(several, model) for model in models)) == [None, None]
    assert tree(folder) in single


def test_what_two_wrote_is_loaded(models: list[tuple[Any, dict[str, Any]]], tmp_path: Path):
    at_once(*(partial(save_adapter, model, tmp_path / "x") for model, _ in models))
    options = json.loads((tmp_path / "x" / "adapter_config.json").read_text())["options"]
    model, cfg = models[options["bottleneck"] - 3]
    other = build_model(cfg["model"])
    load_adapter(other, tmp_path / "x", check_backbone=False)
    for name, tensor in trained_state_dict(model).items():
        assert torch.equal(tensor, other.state_dict()[name])


FACTS = st.fixed_dictionaries({"weights": st.sampled_from("ab"), "dtype": st.just("float32")})


@settings(max_examples=draws(1, deep=20))
@example(facts=[{"weights": name, "dtype": "float32"} for name in "aba"])
@given(facts=st.lists(FACTS, min_size=2, max_size=3))
def test_a_folder_has_features_and_taps_of_one_kind(
    facts: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory
):
    root = tmp_path_factory.mktemp("kinds")

    def extract(own: dict[str, str]) -> None:
        check_facts(root / "features" / "manifest.json", own)

    def tap(own: dict[str, str]) -> None:
        TapStore(root / "taps", own, ([0], [0])).begin()

    for begin, manifest in ((extract, "features/manifest.json"), (tap, "taps/taps.json")):
        found = at_once(*(partial(begin, own) for own in facts))
        kept = json.loads((root / manifest).read_text())["weights"]
        for own, error in zip(facts, found, strict=True):
            assert (error is None) == (own["weights"] == kept), error
        refused = [str(error) for error in found if error is not None]
        assert all("another weights" in text for text in refused)


def test_both_entries_of_a_metafile(tmp_path: Path):
    path = tmp_path / "metafile.yml"
    path.write_text("Collections:\n  - Name: C\nModels:\n  - Name: old\n")
    entries = [{"Name": f"new{number}", "In Collection": "C"} for number in range(3)]
    assert at_once(*(partial(add_entry, path, entry) for entry in entries)) == [None] * 3
    names = [model["Name"] for model in yaml.safe_load(path.read_text())["Models"]]
    assert names[0] == "old"
    assert sorted(names[1:]) == [entry["Name"] for entry in entries]
