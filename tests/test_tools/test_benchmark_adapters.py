"""The benchmark of several adapters runs, small, and says what it measured."""

import json

import pytest

from tests.helpers import ROOT, load_tool

CONFIGS = ["blip_tiny_retrieval", "blip_tiny_caption", "blip_tiny_vqa"]


@pytest.mark.parametrize("config", CONFIGS)
def test_measures_and_prints(config, tmp_path, capsys):
    tool = load_tool("analysis_tools/benchmark_adapters.py")
    path = f"{ROOT}/configs/_base_/models/{config}.py"
    options = ["--adapters=2", "--batch-size=2", "--bottleneck=4", "--repeats=1"]
    tool.main([path, *options, "--json", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["memory"]["backbone"] > found["memory"]["adapter"] > 0
    assert found["switch"]["slowest"] >= found["switch"]["median"] > 0
    assert len(found["batch"]) == 4
    assert all(spent > 0 for spent in found["batch"].values())
    assert "| 2 rows of 2 adapters |" in capsys.readouterr().out
