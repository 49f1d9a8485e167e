"""Files with more than tensors: tensors are read, code never runs."""

from __future__ import annotations

import argparse
import collections
import datetime
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from uniadapter.checkpoints.foreign_file import left_out, load_foreign_file


class Options(dict):
    """As the configs of OmegaConf, yacs and addict: a dictionary that is a class of its own."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.frozen = True


class Slotted:
    __slots__ = ("value",)

    def __init__(self):
        self.value = 1


class Calls:
    """Calls a function with arguments when it is unpickled."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def nested():
    options = Options(lr=0.1, model=Options(widths=[1, 2]))
    return argparse.Namespace(options=options, path=Path("a/b"), of=collections.deque([options]))


HARMLESS = {
    "Namespace": lambda: argparse.Namespace(lr=0.1, nested=argparse.Namespace(x=[1])),
    "nested": nested,
    "numpy float": lambda: np.float64(0.5),
    "numpy int": lambda: np.int64(3),
    "numpy string": lambda: np.str_("a"),
    "array": lambda: np.arange(5.0),
    "path": lambda: Path("a/b"),
    "date": lambda: datetime.datetime(2022, 1, 2),
    "default dict": lambda: collections.defaultdict(list, a=[1]),
    "deque": lambda: collections.deque([1, torch.ones(2)]),
    "options": lambda: Options(a=1),
    "slots": Slotted,
    "function": lambda: torch.relu,
    "class": lambda: Options,
    "optimizer object": lambda: torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], 0.1),
    "range": lambda: range(4),
    "mapping of paths": lambda: {Path("a"): {np.str_("b"): 1}},
    "optimizer": lambda: torch.optim.Adam([torch.nn.Parameter(torch.ones(2))]).state_dict(),
    "generator": lambda: torch.Generator().get_state(),
}
formats = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])


@formats
@pytest.mark.parametrize("kind", HARMLESS)
def test_what_stands_beside_tensors_is_left_out(kind, zipped, tmp_path):
    weight = torch.randn(3, 2)
    content = {"first": HARMLESS[kind](), "model": {"a": weight, "b": weight[1]}, "epoch": 3}
    path = tmp_path / "a.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    loaded = load_foreign_file(path)
    assert torch.equal(loaded["model"]["a"], weight)
    assert torch.equal(loaded["model"]["b"], weight[1])
    assert loaded["epoch"] == 3
    assert left_out(loaded["model"]) == []


def test_a_whole_module_beside_tensors(tmp_path):
    content = {"model": {"a": torch.ones(2)}, "x": torch.nn.Linear(2, 3)}
    torch.save(content, tmp_path / "a.pth")
    loaded = load_foreign_file(tmp_path / "a.pth")
    assert left_out(loaded["x"]) == ["torch.nn.modules.linear.Linear"]
    # The older format brings the module's source code along.
    torch.save(content, tmp_path / "b.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match=r"b\.pth is corrupt, or holds objects.*refused"):
        load_foreign_file(tmp_path / "b.pth")


def test_the_classes_are_named(tmp_path):
    content = {"args": nested(), "best": [np.float64(1)], "lr": 0.1, "run": (print, Options)}
    torch.save(content, tmp_path / "a.pth")
    loaded = load_foreign_file(tmp_path / "a.pth")
    named = {key: left_out(value) for key, value in loaded.items()}
    assert named["args"] == ["argparse.Namespace"]
    assert [name.split(".")[-1] for name in named["best"]] == ["scalar"]
    assert named["lr"] == []
    assert named["run"] == ["builtins.print", f"{__name__}.Options"]


@settings(max_examples=draws(25))
@given(
    kinds=st.lists(st.sampled_from(sorted(HARMLESS)), min_size=1, max_size=5),
    zipped=st.booleans(),
)
def test_any_of_them_together(kinds, zipped, tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "a.pth"
    content = {str(number): HARMLESS[kind]() for number, kind in enumerate(kinds)}
    weights = {"a": torch.arange(4.0)}
    torch.save({**content, "model": weights}, path, _use_new_zipfile_serialization=zipped)
    assert torch.equal(load_foreign_file(path)["model"]["a"], weights["a"])


@formats
@pytest.mark.parametrize(
    ("function", "args"),
    [
        (exec, ("import pathlib; pathlib.Path('ran').touch()",)),
        (eval, ("open('ran', 'w')",)),
        (open, ("ran", "w")),
        (os.mkdir, ("ran",)),
        (subprocess.check_output, (["touch", "ran"],)),
        (getattr, (Path("ran"), "touch")),
        (Path.touch, (Path("ran"),)),
        (np.save, ("ran", 1)),
        (torch.save, (1, "ran")),
    ],
)
def test_nothing_is_called(function, args, zipped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = {"model": {"a": torch.ones(2)}, "x": Calls(function, *args)}
    torch.save(content, "evil.pth", _use_new_zipfile_serialization=zipped)
    try:
        loaded = load_foreign_file("evil.pth")
    except ValueError as error:
        assert "which is refused" in str(error)  # noqa: PT017
    else:
        assert torch.equal(loaded["model"]["a"], torch.ones(2))
        assert left_out(loaded["x"])
    assert [path.name for path in tmp_path.iterdir()] == ["evil.pth"]


def test_no_module_is_imported(tmp_path, monkeypatch):
    (tmp_path / "their_code.py").write_text("class Args:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    import their_code  # type: ignore[import-not-found]

    torch.save({"model": {"a": torch.ones(1)}, "x": their_code.Args()}, tmp_path / "a.pth")
    del sys.modules["their_code"]
    assert left_out(load_foreign_file(tmp_path / "a.pth")["x"]) == ["their_code.Args"]
    assert "their_code" not in sys.modules


def test_what_is_allowed_elsewhere_stays_as_it_was(tmp_path):
    before = set(torch.serialization.get_safe_globals())
    torch.save({"x": argparse.Namespace()}, tmp_path / "a.pth")
    load_foreign_file(tmp_path / "a.pth")
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "a.pth", weights_only=True)


def write(path, data):
    path.write_bytes(data)
    return path


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid", "is a pointer of Git LFS"),
        (b"\n<!DOCTYPE html><html>", "is a web page"),
        (b"\x1f\x8b\x08", "is an archive of gzip"),
        (b"\x89HDF\r\n", "is an HDF5 file"),
        (b"\x10\0\0\0\0\0\0\0" + b'{"a": 1}', "is a safetensors file: give it the ending"),
        (b"_base_ = []\nmodel = dict()\n", "is a text file, not the weights"),
        (b"PK\x03\x04 and no more", "is truncated or corrupt"),
        (b"", "is truncated or corrupt"),
        (pickle.dumps({"a": 1}), "is (truncated or )?corrupt"),
        (pickle.dumps(argparse.Namespace(), protocol=5), "is (truncated or )?corrupt"),
    ],
)
def test_other_files_are_named_for_what_they_are(data, match, tmp_path):
    with pytest.raises(ValueError, match=rf"a\.pth {match}"):
        load_foreign_file(write(tmp_path / "a.pth", data))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_program_and_a_missing_file_are_named(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a\.pt is a TorchScript program"):
        load_foreign_file(tmp_path / "a.pt")
    with pytest.raises(FileNotFoundError, match=r"b\.pth does not exist"):
        load_foreign_file(tmp_path / "b.pth")


@pytest.mark.parametrize("keep", [1, 100, 0.5, 0.99])
def test_a_truncated_file_is_named(keep, tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"a": torch.zeros(1000), "args": argparse.Namespace()}, path)
    data = path.read_bytes()
    write(path, data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(ValueError, match=r"a\.pth is .*corrupt"):
        load_foreign_file(path)
