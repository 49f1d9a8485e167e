"""Adapters that are loaded by the name of a published folder, of a metafile's entry, of the Hub."""

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from tests.model_helpers import adapter_cfg, outputs, same, tiny_batch
from tests.shared_helpers import shared_model
from uniadapter.apis import AutoAdapterModel, adapters, find_adapter, load_adapter
from uniadapter.checkpoints.files import WEIGHTS_NAME
from uniadapter.utils.download import sha256_of
from uniadapter.utils.model_index import ModelEntry, models_by_name

LORA = {"type": "LoRA", "rank": 2}
NAME = "tiny_lora-0123abcd"


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Path]:
    """A model, and a folder of it that is in nobody's way."""
    monkeypatch.setenv("UNIADAPTER_HOME", str(tmp_path / "home"))
    model = shared_model(tmp_path, adapter=LORA)
    return model, model.save_pretrained(tmp_path / "elsewhere" / NAME, with_backbone=True)


def server(folder: Path) -> Any:
    """Another adapter on the same backbone."""
    return shared_model(folder, adapter=adapter_cfg())


def loaded(trained: tuple[Any, Path], what: str | Path, **options: Any) -> str:
    """Load beside another adapter, and see that it is the one that was saved."""
    model, folder = trained
    other = server(folder.parent)
    before = outputs(other, tiny_batch())
    name = load_adapter(other, what, **options)
    assert same(outputs(other, tiny_batch()), before)
    other.set_adapter(name)
    assert same(outputs(other, tiny_batch()), outputs(model, tiny_batch()))
    return name


def test_a_folder_and_its_file(trained: tuple[Any, Path]) -> None:
    assert loaded(trained, trained[1]) == NAME
    assert loaded(trained, str(trained[1] / WEIGHTS_NAME), name="x") == "x"


@pytest.mark.parametrize("below", [(), ("checkpoints",)])
def test_a_published_folder_at_home(trained: tuple[Any, Path], below: tuple[str, ...]) -> None:
    with pytest.raises(FileNotFoundError, match=rf"{NAME} is no folder: name the folder"):
        find_adapter(NAME)
    target = trained[1].parents[1].joinpath("home", *below, NAME)
    target.parent.mkdir(parents=True)
    trained[1].rename(target)
    assert loaded(trained, NAME) == NAME
    assert loaded(trained, NAME, name="videos") == "videos"
    found = AutoAdapterModel.from_pretrained(NAME)
    assert same(outputs(found, tiny_batch()), outputs(trained[0], tiny_batch()))


def test_an_entry_of_a_metafile(trained: tuple[Any, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = trained[1]
    meta = {
        "Name": "published",
        "Weights": str(folder / WEIGHTS_NAME),
        "SHA256": sha256_of(folder / WEIGHTS_NAME),
    }
    entry = ModelEntry("published", "config.py", (), meta["Weights"], meta)
    known = {**models_by_name(), "published": entry}
    monkeypatch.setattr(adapters, "models_by_name", lambda: known)
    monkeypatch.setattr("uniadapter.apis.weights.find_model", known.__getitem__)
    assert loaded(trained, "published") == "published"
    (folder / WEIGHTS_NAME).write_bytes(b"another")
    with pytest.raises(ValueError, match="is not the file of 'published'"):
        find_adapter("published")
    # What has no folder of an adapter is said to have none.
    for name in ("tiny_zero_shot", "uniadapter_msrvtt_r512"):
        with pytest.raises(FileNotFoundError, match=f"{name} is a model of the zoo without"):
            find_adapter(name)


def test_a_repository_of_the_hub(
    trained: tuple[Any, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    module: Any = types.ModuleType("huggingface_hub")
    module.snapshot_download = lambda name, allow_patterns: str(trained[1])
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    with pytest.raises(FileNotFoundError, match="with download=True"):
        find_adapter("me/tiny")
    assert loaded(trained, "me/tiny", download=True) == "tiny"
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match="pip install huggingface_hub"):
        find_adapter("me/tiny", download=True)
