from __future__ import annotations

import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from uniadapter.utils.config import apply_cfg_options, load_config


@pytest.fixture
def cfg() -> Config:
    return Config(
        {
            "model": {"type": "M", "adapter": {"type": "A", "bottleneck": 8}, "pretrained": None},
            "param_scheduler": [{"type": "S", "T_max": 3}],
            "env_cfg": {"cudnn_benchmark": False},
            "randomness": {"seed": 0},
            "train_dataloader": {"batch_size": 2},
            "load_from": None,
        }
    )


def test_missing_file_names_similar_ones(tmp_path: Path):
    (tmp_path / "msrvtt_r512.py").write_text("a = 1\n")
    with pytest.raises(FileNotFoundError, match=r"msrvtt_r51\.py does not exist.*msrvtt_r512\.py"):
        load_config(tmp_path / "msrvtt_r51.py")
    with pytest.raises(FileNotFoundError, match="folder .* does not exist either"):
        load_config(tmp_path / "nowhere" / "a.py")


@pytest.mark.parametrize(
    ("text", "message"),
    [("a = (1\n", "SyntaxError"), ("a = b\n", "NameError.*'b'"), ("a = 1 / 0\n", "ZeroDivision")],
)
def test_unreadable_config_names_the_file_and_the_reason(tmp_path: Path, text: str, message: str):
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"(?s)broken\.py cannot be read: {message}"):
        load_config(path)


def test_missing_base_is_named(tmp_path: Path):
    path = tmp_path / "leaf.py"
    path.write_text("_base_ = './no_base.py'\n")
    with pytest.raises((FileNotFoundError, ValueError), match=r"(?s)leaf\.py.*no_base\.py"):
        load_config(path)


def test_options_override_values(cfg: Config, tmp_path: Path):
    apply_cfg_options(
        cfg,
        {
            "model.adapter.bottleneck": 16,
            "param_scheduler.0.T_max": 5,
            "load_from": "x.pth",
        },
    )
    assert cfg.model.adapter.bottleneck == 16
    assert cfg.param_scheduler[0].T_max == 5
    assert cfg.load_from == "x.pth"
    path = tmp_path / "leaf.py"
    path.write_text("model = dict(type='M')\n")
    assert load_config(path, {"model.pretrained": "w"}).model.pretrained == "w"


@pytest.mark.parametrize(
    "key",
    [
        "model.adapter.scale",  # the constructor judges it
        "randomness.deterministic",
        "train_dataloader.pin_memory",
        "auto_scale_lr.enable",
        "visualizer.type",
    ],
)
def test_new_keys_are_allowed_where_something_reads_them(cfg: Config, key: str):
    apply_cfg_options(cfg, {key: 1})


def test_modules_named_by_an_override_are_imported(cfg: Config, tmp_path: Path, monkeypatch):
    (tmp_path / "module_of_mine.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    cfg.custom_imports = {"imports": [], "allow_failed_imports": False}
    apply_cfg_options(cfg, {"custom_imports.imports": ["module_of_mine"]})
    assert "module_of_mine" in sys.modules
    with pytest.raises(ImportError):
        apply_cfg_options(cfg, {"custom_imports.imports": ["no_such_module_of_mine"]})


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("modle.adapter.bottleneck", r"the config has no key `modle`\. Did you mean `model`\?"),
        ("env_cfg.cudnn_bench", r"`env_cfg` has no key `cudnn_bench`\. Did you mean `cudnn_benchm"),
        ("param_scheduler.3.T_max", "list of 1, so `3` has to be an index from 0 to 0"),
        ("model.adapter.bottleneck.x", "`model.adapter.bottleneck` is 8 and has no key `x`"),
    ],
)
def test_unknown_keys_are_refused(cfg: Config, key: str, message: str):
    with pytest.raises(ValueError, match=message):
        apply_cfg_options(cfg, {key: 1})
