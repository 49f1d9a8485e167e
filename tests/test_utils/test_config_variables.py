from __future__ import annotations

import re
from pathlib import Path

import pytest
from mmengine.config import Config

from tests.helpers import ROOT
from uniadapter.utils.config import apply_cfg_options, load_config
from uniadapter.utils.config_variables import check_runner_keys, places_of

LEAF = ROOT / "configs/uniadapter/msrvtt_r512.py"
BASES = ROOT / "configs/_base_/datasets"
BASE = """
data_root = 'there/'
num_frames = 8
pipeline = [dict(type='LoadVideo', num_frames=num_frames), dict(type='PackInputs')]
model = dict(type='M')
train_dataloader = dict(batch_size=8, dataset=dict(data_root=data_root, pipeline=pipeline))
val_dataloader = dict(batch_size=8, dataset=dict(data_root=data_root, pipeline=[]))
spare = ['used', 'by', 'children']
"""


def leaf(folder: Path, text: str, base: str = BASE) -> Path:
    (folder / "base.py").write_text(base)
    path = folder / "leaf.py"
    path.write_text(f"_base_ = './base.py'\n{text}\n")
    return path


@pytest.mark.parametrize(
    ("option", "places"),
    [
        ("data_root", [f"{split}_dataloader.dataset.data_root" for split in ("train", "test")]),
        ("train_pipeline.0.num_frames", ["train_dataloader.dataset.pipeline.0.num_frames"]),
        ("test_pipeline", ["val_dataloader.dataset.pipeline", "test_dataloader.dataset.pipeline"]),
    ],
)
def test_a_variable_is_refused_with_the_keys_made_of_it(option: str, places: list[str]):
    with pytest.raises(ValueError, match=f"--cfg-options {option}: .* is a variable") as error:
        load_config(LEAF, {option: "x"})
    named = str(error.value).split("Set the keys that have its value: ")[1].rstrip(".").split(", ")
    assert set(places) <= set(named)
    # Every key that the error names can be set.
    cfg = load_config(LEAF, dict.fromkeys(named, "x"))
    assert "'x'" in cfg.pretty_text


VARIABLES = [
    pytest.param(path, name, id=f"{path.stem}-{name}")
    for path in sorted(BASES.glob("*.py"))
    for name in ("data_root", "train_pipeline", "test_pipeline")
    if f"\n{name} = " in f"\n{path.read_text()}"
]


@pytest.mark.parametrize(("path", "name"), VARIABLES)
def test_the_keys_are_those_that_change_with_the_file(tmp_path: Path, path: Path, name: str):
    text = path.read_text()
    # What the file becomes when the variable itself is changed says where it goes.
    for other in BASES.glob("*.py"):
        (tmp_path / other.name).write_text(other.read_text())
    after = re.sub(rf"^{name} = ('[^']*'|\w+|\[\n(.*\n)*?\])$", f"{name} = '?'", text, flags=re.M)
    (tmp_path / path.name).write_text(after)
    changed = Config.fromfile(tmp_path / path.name)
    cfg = Config.fromfile(path)
    assert changed[name] == "?"
    expected = places_of(changed._cfg_dict, name, "?")
    found = places_of(cfg._cfg_dict, name, cfg[name])
    assert set(expected) <= set(found)
    # Another variable of the same value has its own places.
    if list(dict(cfg).values()).count(cfg[name]) == 1:
        assert found == expected


def test_a_number_is_found_under_its_own_name(tmp_path: Path):
    with pytest.raises(
        ValueError, match=r"its value: train_dataloader\.dataset\.pipeline\.0\.num_frames\.$"
    ):
        load_config(leaf(tmp_path, ""), {"num_frames": 4})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "data_root = 'x'",
            r"`data_root`: .*: train_dataloader\.dataset\.data_root, val_dataloader\.dataset\.d",
        ),
        ("num_frames = 4", r"`num_frames`: .*: train_dataloader\.dataset\.pipeline\.0\.num_frames"),
        (
            "pipeline = []",
            r"`pipeline`: .* keys that have it: train_dataloader\.dataset\.pipeline\.",
        ),
        ("optim_wraper = dict(type='OptimWrapper')", r"`optim_wraper`\. Did you mean 'optim_wrap"),
        ("resume_from = 'a.pth'", r"`resume_from`\. In its place: resume=True with load_from"),
        ("thing = 1", r"`thing`\. Remove it, or use it in the file"),
    ],
)
def test_what_an_inheriting_file_assigns_in_vain_is_refused(tmp_path: Path, text, message):
    with pytest.raises(
        ValueError, match=rf"leaf\.py: nothing reads {message}|leaf\.py: .*{message}"
    ):
        load_config(leaf(tmp_path, text))


def test_a_file_between_is_checked_too(tmp_path: Path):
    leaf(tmp_path, "data_root = 'x'")
    (tmp_path / "last.py").write_text("_base_ = ['leaf.py']\n")
    with pytest.raises(ValueError, match=r"leaf\.py: nothing reads `data_root`"):
        load_config(tmp_path / "last.py")


@pytest.mark.parametrize(
    "text",
    [
        "train_dataloader = dict(batch_size=3)",
        "data_root = 'x'\ntrain_dataloader = dict(dataset=dict(data_root=data_root))",
        "train_dataloader = dict(dataset=dict(ann_file={{_base_.spare}}))",
        "spare = _base_.spare\nspare.append('x')",
    ],
)
def test_what_is_read_passes(tmp_path: Path, text: str):
    load_config(leaf(tmp_path, text))


def test_a_variable_for_a_child_passes(tmp_path: Path):
    leaf(tmp_path, "mine = 3")
    (tmp_path / "last.py").write_text("_base_ = 'leaf.py'\nmodel = dict(n={{_base_.mine}})\n")
    assert load_config(tmp_path / "last.py").model.n == 3


def test_a_config_that_a_run_wrote_can_be_run_again(tmp_path: Path):
    # It has the variables of its bases beside values that an override has changed since.
    cfg = load_config(LEAF, {"train_dataloader.dataset.data_root": "x"})
    cfg.dump(tmp_path / "dumped.py")
    again = load_config(tmp_path / "dumped.py")
    assert again.train_dataloader.dataset.data_root == "x"
    check_runner_keys(again, "dumped.py")


def test_a_variable_changed_in_such_a_config_is_told(tmp_path: Path, monkeypatch):
    told: list[str] = []
    monkeypatch.setattr(
        "uniadapter.utils.config_variables.print_log", lambda text, *_: told.append(text)
    )
    path = tmp_path / "dumped.py"
    load_config(LEAF).dump(path)
    load_config(path)
    assert told == []
    path.write_text(path.read_text().replace("data_root = 'data/msrvtt/'", "data_root = 'x'"))
    load_config(path)
    assert len(told) == 1
    assert "nothing reads `data_root`" in told[0]


@pytest.mark.parametrize(
    ("key", "remedy"),
    [("train_dataloder", "'train_dataloader'"), ("lr_config", "In its place: param_scheduler")],
)
def test_slips_in_a_whole_config_are_refused(key: str, remedy: str):
    with pytest.raises(ValueError, match=rf"nothing reads the key `{key}`\. ?.*{remedy}"):
        check_runner_keys({"model": {}, key: {}}, "run.py")


@pytest.mark.parametrize("key", ["model.adapter", "model..x", "model.adapter."])
def test_contradicting_or_broken_keys_are_refused(key: str):
    cfg = Config({"model": {"type": "M", "adapter": {"type": "A", "x": 1}}})
    with pytest.raises(ValueError, match="set the same value|between the dots is empty"):
        apply_cfg_options(cfg, {key: None, "model.adapter.x": 2})
