"""transformers' folders with shards, an index or variants: read, or named for what they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from safetensors.torch import load_file, save_file
from transformers import BlipForImageTextRetrieval

from tests.helpers import draws, tiny_retrieval_cfg
from tests.test_checkpoints.test_layouts.states import assert_same
from tests.test_checkpoints.test_layouts.test_huggingface import write_folder
from tests.test_models.test_parity_hf.twins import SMALL, blip_config
from uniadapter.apis import convert_checkpoint
from uniadapter.apis.model import build_model
from uniadapter.checkpoints.layouts.shards import find_weights, read_weights

WEIGHTS = {name: torch.full((2,), float(index)) for index, name in enumerate("abcdef")}


def write_shards(
    folder: Path, shard_of: dict[str, str], ending: str = "safetensors", variant: str = ""
) -> Path:
    """Shards of the weights and their index, as transformers writes them."""
    folder.mkdir(exist_ok=True)
    for shard in set(shard_of.values()):
        part = {name: WEIGHTS[name] for name, of in shard_of.items() if of == shard}
        save = save_file if ending == "safetensors" else torch.save
        save(part, folder / shard)
    body = "model.safetensors" if ending == "safetensors" else "pytorch_model.bin"
    index = folder / f"{body}.index.{variant}json"
    index.write_text(json.dumps({"metadata": {"total_size": 48}, "weight_map": shard_of}))
    return index


def names(count: int, ending: str = "safetensors") -> list[str]:
    body = "model" if ending == "safetensors" else "pytorch_model"
    return [f"{body}-{i + 1:05}-of-{count:05}.{ending}" for i in range(count)]


@settings(max_examples=draws(20))
@given(
    owners=st.lists(st.integers(0, 3), min_size=6, max_size=6),
    ending=st.sampled_from(["safetensors", "bin"]),
    variant=st.sampled_from(["", "fp16.", "ema-only."]),
)
def test_any_split_is_read(
    owners: list[int], ending: str, variant: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("hf")
    shards = names(4, ending)
    shard_of = {name: shards[owner] for name, owner in zip(WEIGHTS, owners, strict=True)}
    index = write_shards(folder, shard_of, ending, variant)
    found, notes = find_weights(folder)
    assert found == index
    assert bool(notes) == bool(variant)
    assert_same(read_weights(found), WEIGHTS)


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_transformers_own_shards(variant: str | None, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = BlipForImageTextRetrieval(blip_config(SMALL))
    model.save_pretrained(tmp_path, max_shard_size="60KB", variant=variant)
    assert len(list(tmp_path.glob("model*-of-*.safetensors"))) > 2
    state = read_weights(find_weights(tmp_path)[0])
    own = model.state_dict()
    assert [name for name, tensor in state.items() if not torch.equal(tensor, own[name])] == []
    assert len(state) > 60


@pytest.fixture
def config() -> Config:
    return Config({"model": tiny_retrieval_cfg(adapter=None)})


@pytest.fixture
def folder(tmp_path: Path, config: Config) -> Path:
    return write_folder(tmp_path / "hf", build_model(config.model.to_dict()))


def test_a_variant_is_read_and_said(folder: Path, config: Config, tmp_path: Path) -> None:
    convert_checkpoint(folder, tmp_path / "whole.safetensors", config, "hf")
    (folder / "model.safetensors").rename(folder / "model.fp16.safetensors")
    report = convert_checkpoint(folder, tmp_path / "one.safetensors", config, "hf")
    assert "the weights are those of the variant model.fp16.safetensors" in report.notes
    assert_same(load_file(tmp_path / "one.safetensors"), load_file(tmp_path / "whole.safetensors"))
    (folder / "model.bf16.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"several variants, .*bf16.*fp16.*: name one of these"):
        convert_checkpoint(folder, tmp_path / "two.safetensors", config, "hf")
    file = folder / "model.fp16.safetensors"
    convert_checkpoint(file, tmp_path / "two.safetensors", config, "hf")
    assert_same(load_file(tmp_path / "two.safetensors"), load_file(tmp_path / "whole.safetensors"))


def refuse(error: type[Exception], match: str, index: Path) -> None:
    with pytest.raises(error, match=match):
        read_weights(index)


def test_missing_shards_are_named(tmp_path: Path) -> None:
    shards = names(3)
    index = write_shards(tmp_path, dict(zip(WEIGHTS, shards * 2, strict=True)))
    (tmp_path / shards[1]).unlink()
    refuse(FileNotFoundError, rf"names 3 shards, {shards[1]} of which do not exist", index)
    index.unlink()
    with pytest.raises(FileNotFoundError, match=r"holds 2 shards, .* and no index of them"):
        find_weights(tmp_path)


def test_shards_that_contradict_their_index_are_named(tmp_path: Path) -> None:
    shards = names(2)
    index = write_shards(tmp_path, {name: shards[name > "c"] for name in WEIGHTS})
    save_file({name: WEIGHTS[name] for name in "cdef"}, tmp_path / shards[1])
    refuse(ValueError, rf"{shards[1]} holds, against .*index\.json, c:", index)
    save_file({name: WEIGHTS[name] for name in "df"}, tmp_path / shards[1])
    refuse(ValueError, rf"{shards[1]} lacks e:", index)
    (tmp_path / shards[1]).write_bytes(b"cut")
    refuse(ValueError, rf"{shards[1]} is damaged", index)


@pytest.mark.parametrize(
    "place",
    ["../x.safetensors", "/x.safetensors", "a/b.safetensors", "..", "", "x.py", "a\\b.bin", 3],
)
def test_an_index_names_files_beside_it_alone(place: Any, tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "x.safetensors")
    folder = tmp_path / "hf"
    index = write_shards(folder, dict.fromkeys(WEIGHTS, "x.safetensors"))
    content = json.loads(index.read_text())
    content["weight_map"]["a"] = place
    index.write_text(json.dumps(content))
    refuse(ValueError, "has a in .*not the name of a .safetensors or .bin file", index)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "no valid index"),
        ("[]", "has no weight_map"),
        ('{"weight_map": {}}', "has no weight_map"),
        ('{"weight_map": ["a"]}', "has no weight_map"),
        ('{"weight_map": {"a": "x.bin", "a": "y.bin"}}', "a stands there twice"),
    ],
)
def test_a_bad_index_is_an_error(text: str, match: str, tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(text)
    refuse(ValueError, match, index)


def test_other_frameworks_weights_are_listed(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "tf_model.h5")
    with pytest.raises(
        FileNotFoundError, match=r"model\.safetensors does not exist.*'tf_model.h5'"
    ):
        find_weights(folder)
