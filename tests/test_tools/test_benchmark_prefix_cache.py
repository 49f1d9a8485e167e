from __future__ import annotations

import json
from pprint import pformat

import pytest

from tests.helpers import load_tool, tiny_retrieval_cfg

tool = load_tool("analysis_tools/benchmark_prefix_cache.py")
SIZES = ["--layers", "2", "--frames", "2", "--text-length", "6", "--rounds", "1"]


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.py"
    optimizer = {"type": "AdamW", "lr": 1e-3}
    wrapper = {"constructor": "TrainableOptimWrapperConstructor", "optimizer": optimizer}
    path.write_text(f"model = {pformat(tiny_retrieval_cfg())}\noptim_wrapper = {wrapper}\n")
    return str(path)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_all_ways_are_run_and_compared(config, tmp_path, capsys, dtype):
    folder = tmp_path / "disk"
    folder.mkdir()
    tool.main([config, *SIZES, "--dtype", dtype, "--dir", str(folder), "--json"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(folder.iterdir()) == []
    assert (result["frozen_layers"], result["frames"]) == (1, 2)
    assert result["warm_is_cold"]
    assert (result["error"]["warm"] == 0) == (dtype == "float32")
    assert result["mib_per_frame"] * 2**20 > 5 * 32 * (4 if dtype == "float32" else 2)
    assert {f"step {way}" for way in tool.WAYS} <= set(result["seconds"])
    assert f"in {dtype}" in tool.as_table(result)


def test_a_range_from_layer_1_has_nothing_to_measure(config):
    with pytest.raises(SystemExit, match="error: model.prefix_cache would save nothing"):
        tool.main([config, *SIZES, "--layers", "1-2"])


def test_bad_options():
    with pytest.raises(SystemExit):
        tool.parse_args(["--rounds", "0"])
