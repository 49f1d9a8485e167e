"""Folders of strangers: nothing of them runs, and what is wrong is said by file, key and remedy."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tests.helpers import draws
from tests.shared_helpers import copied, edit, put, refused, shared_model
from uniadapter.apis import AutoAdapterModel
from uniadapter.checkpoints import load_adapter
from uniadapter.checkpoints.files import CONFIG_NAME, WEIGHTS_NAME
from uniadapter.checkpoints.shared import BACKBONE_NAME


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A model, and a folder with its backbone beside it."""
    folder = tmp_path_factory.mktemp("whole")
    model = shared_model(folder)
    return model, model.save_pretrained(folder / "adapter", with_backbone=True)


@pytest.fixture
def folder(whole: tuple[Any, Path], tmp_path: Path) -> Path:
    """A copy of it, to be spoilt."""
    return copied(whole[1], tmp_path)


_HARM = Path(__file__).with_name("harm_that_was_run")


class Harm:
    """Pickled code that leaves a file."""

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(_HARM),))


@pytest.fixture(autouse=True)
def _no_harm() -> Any:
    yield
    assert not _HARM.exists()


def test_a_folder_of_save_adapter_says_what_to_do(whole: tuple[Any, Path], folder: Path) -> None:
    edit(folder, lambda c: [c.pop(key) for key in ("model", "backbone", "files", "pipeline")])
    assert "init_model(config, folder)" in refused(folder)
    load_adapter(whole[0], folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1, 2]", "must hold one JSON object, not a list"),
        ("null", "must hold one JSON object"),
        ('{"format_version": 1,', "is not valid JSON"),
        ("", "is not valid JSON"),
        ('{"format_version": NaN}', "NaN is no number of JSON"),
        ('{"a": 1, "a": 2}', "'a' stands there twice"),
        ("[" * 100_000, "nested too deeply"),
        ('{"model": ' + "[" * 500 + "]" * 500 + "}", "nested too deeply"),
        ('{"a": ' * 65 + "1" + "}" * 65, "nested too deeply"),
        ("{}", "lacks the key 'format_version'"),
    ],
)
def test_a_json_that_is_none(folder: Path, text: str, words: str) -> None:
    (folder / CONFIG_NAME).write_text(text)
    said = refused(folder)
    assert words in said
    assert CONFIG_NAME in said


def test_bytes_that_are_no_text(folder: Path) -> None:
    (folder / CONFIG_NAME).write_bytes(b"\xff\xfe{}")
    assert "is not valid JSON" in refused(folder)
    (folder / CONFIG_NAME).unlink()
    assert CONFIG_NAME in refused(folder, FileNotFoundError)
    assert "is no folder" in refused(folder / "nothing", FileNotFoundError)


_PREPROCESSOR = ("model", "data_preprocessor")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("modle", to={}), "unknown key 'modle'"),
        (put("model", to=[]), "model must be an object, not []"),
        (put("model", to={}), "model has no key 'type'"),
        (put("format_version", to=2), "install the version that wrote it"),
        (put("mean", to=[0, 0, 0]), "mean=[0, 0, 0], but its model has"),
        (put("image_size", to=64), "image_size=64, but its model has 32"),
        (put("tokenizer", "vocab_file", to="other.txt"), "tokenizer="),
        (put("model", "type", to="os.system"), "model.type='os.system' is not registered"),
        (put("model", "type", to="antigravity"), "model.type='antigravity' is not registered"),
        (put("model", "type", to="mmdet.models.X"), "is not registered"),
        (put("model", "type", to="mmdet.Faster"), "is not registered"),
        (put("model", to={"type": "BlipViT"}), "model.type='BlipViT' is no task"),
        (put("model", "visual", "arch", "num_layers", to=-1), "its model can't be built"),
        (put("model", "embed_dim", to=-3), "its model can't be built"),
        (put("model", "type", to=["os"]), "is not registered"),
        (put("model", "visual", "type", to="torch.nn.Linear"), "model.visual.type="),
        (put("model", "adapter", "type", to="subprocess.Popen"), "model.adapter.type="),
        (put("model", "adapter", "x", to=[{"type": "os.getcwd"}]), "model.adapter.x.0.type="),
        (
            put(
                "model",
                "adapter",
                to={
                    "type": "PeftAdapter",
                    "config": {"peft_type": "LORA", "megatron_config": {}, "megatron_core": "os"},
                },
            ),
            "adapter.config.megatron_config",
        ),
        (put("model", "adapter", "_scope_", to="mmdet"), "model.adapter._scope_"),
        (put("model", "visual", "depth", to=3), "model.visual.depth is no option of BlipViT"),
        (put("model", "visual", "img_size", to="x"), "its model can't be built"),
        (put("model", "visual", "arch", to=None), "its model can't be built"),
        (put("model", "pretrained", to="/etc/passwd"), "model.pretrained"),
        (put("model", "prefix_cache", to={"dir": "/tmp"}), "model.prefix_cache"),
        (put("model", "adapter", "bottleneck", to=4), "adapter.bottleneck: file"),
        (put("options", to="x"), "options must be an object"),
        (put("options", "bottleneck", to=4), "adapter.bottleneck: file 4, model 8"),
        (put("backbone", "file", to="../../x.safetensors"), "must be a name without a folder"),
        (put("backbone", "file", to="/etc/passwd"), "must be a name without a folder"),
        (put("backbone", "file", to="..\\x"), "must be a name without a folder"),
        (put("backbone", "file", to=3), "backbone.file must be a string"),
        (put("backbone", "url", to="file:///etc/passwd"), "is no address of the web"),
        (put("backbone", "sha256", to="abc"), "is no SHA-256"),
        (put("backbone", "path", to="x"), "backbone has the unknown key 'path'"),
        (put("files", "vocab.txt", to=3), "is not the file that was saved"),
        (put("backbone", to={}), "backbone.name must be a string"),
        (put("backbone_sha256", to="0" * 64), "trained on a backbone with other weights"),
        (put(*_PREPROCESSOR, "tokenizer", "vocab_file", to="/etc/passwd"), "is no file of the"),
        (put(*_PREPROCESSOR, "tokenizer", to={"vocab_file": "/etc/passwd"}), "has no type"),
        (put("files", to={"../vocab.txt": ""}), "which is no name of a file in it"),
        (put("files", "vocab.txt", to="0" * 64), "is not the file that was saved"),
        (put("extras", to=[]), "extras must be an object"),
    ],
)
def test_an_edited_json_is_refused(folder: Path, change: Callable[..., Any], words: str) -> None:
    edit(folder, change)
    assert words in refused(folder)


@pytest.mark.parametrize("name", [WEIGHTS_NAME, BACKBONE_NAME])
def test_weights_that_are_none(folder: Path, name: str) -> None:
    whole = (folder / name).read_bytes()
    backbone = name == BACKBONE_NAME

    def says(data: bytes) -> str:
        (folder / name).write_bytes(data)
        if backbone:
            digest = hashlib.sha256(data).hexdigest()
            edit(folder, put("backbone", "sha256", to=digest))
        return refused(folder)

    for data in (b"", whole[:7], whole[: len(whole) // 2], whole[:-1], pickle.dumps(Harm())):
        assert name in says(data)
    torch.save({"temp": Harm()}, folder / "pickled.pth")
    assert name in says((folder / "pickled.pth").read_bytes())
    (folder / name).unlink()
    assert name in refused(folder, FileNotFoundError)


def test_tensors_that_do_not_fit(folder: Path) -> None:
    state = load_file(folder / WEIGHTS_NAME)
    for change, words in (
        ({"temp": torch.tensor(float("inf"))}, "temp holds values that are not finite"),
        ({"temp": torch.tensor(1)}, "temp: the file holds integers"),
        ({"temp": torch.zeros(2)}, "temp: file (2,), model ()"),
        ({"visual.cls_token": torch.zeros(1)}, "not in the model: visual.cls_token"),
        ({"temp": None}, "missing in the file: temp"),
    ):
        changed = {n: t for n, t in {**state, **change}.items() if t is not None}
        save_file(changed, folder / WEIGHTS_NAME)
        assert words in refused(folder)


@settings(max_examples=draws(8), deadline=None)
@given(st.data())
def test_any_spoilt_folder_is_one_clear_error(
    whole: tuple[Any, Path], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever byte of the JSON is another, it loads as it was or is refused by name."""
    folder = copied(whole[1], tmp_path_factory.mktemp("spoilt"))
    path = folder / CONFIG_NAME
    text = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(text) - 1))
    text[position] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(text))
    said = _said(folder)
    assert said is None or str(folder) in said


def _said(folder: Path) -> str | None:
    """The error of a folder; None if it loads."""
    try:
        AutoAdapterModel.from_pretrained(folder)
    except (ValueError, FileNotFoundError) as error:
        return str(error)
    return None
