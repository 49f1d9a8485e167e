"""transformers' folders: what is read and refused. Numerical parity is in test_parity_hf."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import load_file, save_file

from tests.helpers import tiny_retrieval_cfg
from tests.test_checkpoints.test_layouts.states import pool_state, tiny_state, weight_shapes
from uniadapter.apis import convert_checkpoint, init_model
from uniadapter.apis.model import build_model
from uniadapter.checkpoints.layouts import read_checkpoint
from uniadapter.checkpoints.layouts.huggingface import HUGGINGFACE

CONFIG = {
    "architectures": ["BlipForImageTextRetrieval"],
    "vision_config": {"num_attention_heads": 2, "layer_norm_eps": 1e-6},
    "text_config": {"num_attention_heads": 2},
}


@pytest.fixture
def config() -> Config:
    return Config({"model": tiny_retrieval_cfg(adapter=None)})


@pytest.fixture
def model(config: Config) -> Any:
    return build_model(config.model.to_dict())


def write_folder(folder: Path, model: Any, **overrides: Any) -> Path:
    """A folder as transformers writes it, with the weights of ``model``."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**CONFIG, **overrides}))
    weights = {n: t for n, t in tiny_state(model).items() if n != "temp"}
    save_file(
        {HUGGINGFACE.to_theirs(name)[0]: t.contiguous() for name, t in weights.items()},
        folder / "model.safetensors",
    )
    return folder


def test_folder_to_ours(tmp_path: Path, config: Config, model: Any) -> None:
    folder = write_folder(tmp_path / "hf", model)
    report = convert_checkpoint(folder, tmp_path / "ours.safetensors", config, "hf")
    assert report.left == {}
    assert any("no temperature" in note for note in report.notes)
    written = load_file(tmp_path / "ours.safetensors")
    own = tiny_state(model)
    assert set(own) - set(written) == {"temp"}
    assert [name for name in written if not torch.equal(written[name], own[name])] == []
    loaded = init_model(config, tmp_path / "ours.safetensors")
    assert loaded.temp.item() == pytest.approx(0.07)
    assert torch.equal(loaded.itm_head.weight, model.itm_head.weight)


def test_an_older_folder(tmp_path: Path, model: Any) -> None:
    folder = write_folder(tmp_path / "hf", model)
    state = load_file(folder / "model.safetensors")
    state["text_encoder.embeddings.position_ids"] = torch.arange(40)[None]
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    _, report = read_checkpoint(folder, "hf", model)
    assert list(report.left) == ["text_encoder.embeddings.position_ids"]


def test_other_epsilon_is_noted(tmp_path: Path, model: Any) -> None:
    vision = {"num_attention_heads": 2}
    folder = write_folder(tmp_path / "hf", model, vision_config=vision)
    _, report = read_checkpoint(folder, "hf", model)
    assert any("eps=1e-05" in note for note in report.notes)


def test_heads_are_compared(tmp_path: Path, model: Any) -> None:
    folder = write_folder(tmp_path / "hf", model, text_config={})
    with pytest.raises(ValueError, match=r"text_config\.num_attention_heads=12, .* model has 2"):
        read_checkpoint(folder, "hf", model)


def test_other_architectures_are_refused(tmp_path: Path, model: Any) -> None:
    folder = write_folder(tmp_path / "hf", model, architectures=["CLIPModel"])
    with pytest.raises(ValueError, match=r"architectures=\['CLIPModel'\]: BLIP models"):
        read_checkpoint(folder, "hf", model)


def test_missing_and_damaged_files(tmp_path: Path, model: Any) -> None:
    with pytest.raises(FileNotFoundError, match=r"config\.json does not exist: SRC with --from hf"):
        read_checkpoint(tmp_path, "hf", model)
    folder = write_folder(tmp_path / "hf", model)
    (folder / "model.safetensors").write_bytes(b"short")
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        read_checkpoint(folder, "hf", model)
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors does not exist"):
        read_checkpoint(folder, "hf", model)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is not valid JSON"):
        read_checkpoint(folder, "hf", model)


def test_every_tensor_of_ours_has_a_name(model: Any) -> None:
    names = set(pool_state(weight_shapes(model)))
    assert [n for n in sorted(names) if not HUGGINGFACE.to_theirs(n)] == ["temp"]
