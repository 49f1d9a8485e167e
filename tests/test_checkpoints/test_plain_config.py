"""Configs as data."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config

from uniadapter.checkpoints.plain_config import to_json
from uniadapter.utils.paths import resource


def test_a_config_that_inherits_from_an_installed_one_is_the_same_data(tmp_path: Path):
    mine = tmp_path / "mine.py"
    mine.write_text("_base_ = 'uniadapter::tiny/msrvtt_r32.py'")
    inherited = Config.fromfile(mine).model.to_dict()
    assert inherited["_scope_"] == "uniadapter"
    whole = Config.fromfile(resource("configs/tiny/msrvtt_r32.py")).model.to_dict()
    assert to_json(inherited, "model") == to_json(whole, "model")


def test_the_scope_of_others_is_kept():
    assert to_json({"_scope_": "mmpretrain"}, "model") == {"_scope_": "mmpretrain"}
