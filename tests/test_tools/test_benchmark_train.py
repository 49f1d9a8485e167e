from __future__ import annotations

import json
from pprint import pformat

import pytest

from tests.helpers import run_tool, tiny_retrieval_cfg
from tools.analysis_tools.benchmark_train import (
    as_table,
    measure,
    parse_args,
    random_batch,
    read_config,
)

SIZES = ["--frames", "2", "--text-length", "6", "--steps", "1", "--warmup", "1"]


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.py"
    optimizer = {"type": "AdamW", "lr": 1e-3}
    wrapper = {"constructor": "TrainableOptimWrapperConstructor", "optimizer": optimizer}
    path.write_text(f"model = {pformat(tiny_retrieval_cfg())}\noptim_wrapper = {wrapper}\n")
    return str(path)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_steps_are_measured(config, precision):
    result = measure(parse_args([config, *SIZES, "--precision", precision]))
    assert result["precision"] == precision
    assert result["seconds_per_step"] >= 0
    assert 0 < result["peak_gib"] < 8
    assert 0 < result["loss"] < 20
    assert result["img_size"] == 32
    assert "peak GiB" in as_table([result])


def test_the_optimizer_has_the_trainable_parameters(config):
    plain = measure(parse_args([config, *SIZES, "--precision", "fp32"]))
    options = ["--cfg-options", "model.adapter.bottleneck=16", "--grad-checkpointing"]
    wider = measure(parse_args([config, *SIZES, "--precision", "fp32", *options]))
    assert wider["trainable"] > plain["trainable"]
    assert wider["grad_checkpointing"]


def test_batches_have_the_sizes_asked_for(config):
    args = parse_args([config, *SIZES, "--batch-size", "3", "--img-size", "64"])
    batch = random_batch(read_config(args), args)
    assert batch["pixels"].shape == (3, 2, 3, 64, 64)
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (3, 6)
    assert len(set(batch["media_ids"].tolist())) == 3


def test_both_precisions_run_in_processes_of_their_own(config):
    result = run_tool(
        "analysis_tools/benchmark_train.py", config, *SIZES, "--threads", "1", "--json"
    )
    assert result.returncode == 0, result.stderr
    rows = json.loads(result.stdout)
    assert [row["precision"] for row in rows] == ["fp32", "bf16"]
    assert all(row["threads"] == 1 for row in rows)


def test_wrong_input_is_refused(config, tmp_path, capsys):
    with pytest.raises(SystemExit):
        parse_args([config, "--steps", "0"])
    assert "--steps 0 must be at least 1" in capsys.readouterr().err
    path = tmp_path / "model_only.py"
    path.write_text(f"model = {pformat(tiny_retrieval_cfg())}\n")
    with pytest.raises(ValueError, match="has no key 'optim_wrapper'"):
        measure(parse_args([str(path), "--precision", "fp32"]))
