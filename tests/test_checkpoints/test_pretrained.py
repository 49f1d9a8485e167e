"""Reading checkpoints of any project: where their tensors stand, and what stands beside them."""

from __future__ import annotations

import argparse
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from tests.helpers import draws
from uniadapter.checkpoints import files as module
from uniadapter.checkpoints.compare import has_place
from uniadapter.checkpoints.files import read, read_state_dict

WRAPPERS = ("state_dict", "model", "model_state_dict", "net", "module")


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(module, "print_log", lambda message, *_: lines.append(message))
    return lines


@settings(max_examples=draws(40))
@given(
    wrappers=st.lists(st.sampled_from(WRAPPERS), max_size=3),
    prefix=st.sampled_from(["", "module.", "_orig_mod.", "module._orig_mod.", "module.module."]),
    beside=st.lists(st.sampled_from(["args", "best", "epoch", "optimizer"]), unique=True),
    inside=st.booleans(),
)
def test_the_state_dict_is_found(wrappers, prefix, beside, inside, tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "a.pth"
    weights = OrderedDict((f"{prefix}{name}", torch.randn(2)) for name in ("text.a", "temp"))
    others = {
        "args": argparse.Namespace(lr=1),
        "best": np.float64(0.3),
        "epoch": 4,
        "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": []},
    }
    content = dict(weights)
    if inside:
        content |= {name: others[name] for name in beside}
    for wrapper in wrappers:
        content = {wrapper: content, **({} if inside else {n: others[n] for n in beside})}
    torch.save(content, path)
    found = read(path)
    assert set(found.tensors) == {"text.a", "temp"}
    assert torch.equal(found.tensors["temp"], weights[f"{prefix}temp"])
    assert set(found.left) == (set(beside) if wrappers or inside else set())


def test_what_was_not_read_is_said_once(tmp_path, said):
    content = {"model": {"a": torch.ones(1)}, "args": argparse.Namespace(), "epoch": 3}
    torch.save(content, tmp_path / "a.pth")
    found = read(tmp_path / "a.pth")
    assert found.left == {"args": "not read, it needs code of argparse.Namespace", "epoch": "int"}
    assert len(said) == 1
    assert said[0].endswith(
        "beside the weights: args (not read, it needs code of argparse.Namespace)."
    )
    torch.save({"state_dict": {"a": torch.ones(1)}, "meta": {"x": 1}}, tmp_path / "b.pth")
    assert read(tmp_path / "b.pth").meta == {"x": 1}
    assert len(said) == 1


def test_a_prefix_of_some_names_stays(tmp_path):
    names = {"module.a", "b"}
    torch.save({name: torch.ones(1) for name in names}, tmp_path / "a.pth")
    assert set(read_state_dict(tmp_path / "a.pth")) == names
    save_file({"module.a": torch.ones(1)}, tmp_path / "b.safetensors")
    assert set(read_state_dict(tmp_path / "b.safetensors")) == {"a"}


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (lambda: nn.Linear(2, 2), r"holds a whole object \(torch\.nn\.modules\.linear\.Linear\)"),
        (lambda: {"model": nn.Linear(2, 2)}, "holds no state dict.*'model' .not read.*Linear"),
        (lambda: {"epoch": 3, "name": "x"}, r"no state dict.*'epoch' \(int\), 'name' \(str\)"),
        (lambda: {"model": {}}, "holds no state dict"),
        (lambda: [torch.ones(2)], "holds no state dict.* but a list"),
        (lambda: torch.ones(2), "holds no state dict.* but a Tensor"),
        (lambda: {"a": np.ones(2)}, r"'a' \(not read, .*multiarray"),
    ],
)
def test_what_holds_no_tensors_is_named_for_what_it_is(content, match, tmp_path):
    torch.save(content(), tmp_path / "a.pth")
    with pytest.raises(ValueError, match=match):
        read_state_dict(tmp_path / "a.pth")


def test_folders_and_json_files_are_named(tmp_path):
    with pytest.raises(ValueError, match="is a folder: name the file.*--from hf"):
        read_state_dict(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(ValueError, match=r"index\.json is a JSON file"):
        read_state_dict(tmp_path / "model.safetensors.index.json")
    pointer = tmp_path / "model.safetensors"
    pointer.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(ValueError, match=r"model\.safetensors is a pointer of Git LFS"):
        read_state_dict(pointer)


@given(side=st.integers(1, 40), own=st.integers(1, 40), extra=st.integers(0, 3))
def test_position_embeddings_of_squares_have_a_place(side, own, extra):
    file, model = torch.Size((1, 1 + side * side + extra, 8)), torch.Size((1, 1 + own * own, 8))
    square = extra == 0 or (side == 1 and extra == 3)
    assert has_place("visual.pos_embed", file, model) == (square or file == model)
    assert has_place("text.weight", file, model) == (file == model)
