from __future__ import annotations

import io
import json
import subprocess
from collections import OrderedDict
from contextlib import redirect_stdout
from dataclasses import fields
from pathlib import Path
from pprint import pformat
from types import SimpleNamespace

import pytest
from mmengine.logging import MMLogger

from tests.helpers import ROOT, load_tool, run_script, run_tool, tiny_retrieval_cfg
from uniadapter.models.fast import FastPaths

tool = load_tool("analysis_tools/benchmark_train.py")
# Importable once the tool has put its folder on the path.
from train_bench import unipt  # noqa: E402
from train_bench.measure import measure_alone  # noqa: E402
from train_bench.variant import Stepper, random_batch  # noqa: E402

SIZES = ["--frames", "2", "--text-length", "6", "--steps", "1", "--warmup", "1"]


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.py"
    optimizer = {"type": "AdamW", "lr": 1e-3}
    wrapper = {"constructor": "TrainableOptimWrapperConstructor", "optimizer": optimizer}
    path.write_text(f"model = {pformat(tiny_retrieval_cfg())}\noptim_wrapper = {wrapper}\n")
    return str(path)


def run_one(config, *options):
    return tool.measure_config(tool.parse_args([config, *SIZES, *options]))[0]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_steps_are_measured(config, precision):
    result = run_one(config, "--precision", precision)
    assert result["precision"] == precision
    assert result["seconds_per_step"] >= 0
    assert 0 < result["start_gib"] <= result["built_gib"] <= result["peak_gib"] < 8
    assert 0 < result["loss"] < 20
    assert result["img_size"] == 32
    assert "peak GiB" in tool.as_table([result])


def test_the_optimizer_has_the_trainable_parameters(config):
    plain = run_one(config, "--precision", "fp32")
    options = ["--cfg-options", "model.adapter.bottleneck=16", "--grad-checkpointing"]
    wider = run_one(config, "--precision", "fp32", *options)
    assert wider["trainable"] > plain["trainable"]
    assert wider["grad_checkpointing"]


def test_batches_have_the_sizes_asked_for(config):
    args = tool.parse_args([config, *SIZES, "--batch-size", "3", "--img-size", "64"])
    variant = tool.variant_of(args)
    batch = random_batch(variant.read_config(), variant, None)
    assert batch["pixels"].shape == (3, 2, 3, 64, 64)
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (3, 6)
    assert len(set(batch["media_ids"].tolist())) == 3


@pytest.mark.deep
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
        tool.parse_args([config, "--steps", "0"])
    assert "--steps: 0 must be at least 1" in capsys.readouterr().err
    path = tmp_path / "model_only.py"
    path.write_text(f"model = {pformat(tiny_retrieval_cfg())}\n")
    with pytest.raises(ValueError, match="has no key 'optim_wrapper'"):
        run_one(str(path), "--precision", "fp32")
    with pytest.raises(SystemExit):
        tool.parse_args([])
    assert "name either a config or --rows or --methods or --unipt" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        tool.parse_args([config, "--frozen-bf16"])
    assert "--frozen-bf16 needs --precision bf16" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        tool.parse_args([config, "--mode", "predict", "--grad-checkpointing"])
    assert "--grad-checkpointing needs --mode loss" in capsys.readouterr().err


def test_the_output_is_json_alone(config, monkeypatch, capsys):
    # A logger takes the output that is there when it is made, at the first optimizer.
    monkeypatch.setattr(MMLogger, "_instance_dict", OrderedDict())
    tool.main([config, *SIZES, "--precision", "fp32", "--json"])
    assert json.loads(capsys.readouterr().out)["precision"] == "fp32"


def test_frozen_weights_in_bf16_give_the_same_loss(config):
    plain = run_one(config, "--precision", "bf16")
    stored = run_one(config, "--precision", "bf16", "--frozen-bf16")
    assert stored["loss"] == plain["loss"]


ARCH: dict = {
    "_delete_": True,
    "embed_dims": 768,
    "num_layers": 2,
    "num_heads": 12,
    "feedforward_channels": 64,
}
SMALL = {"model.visual.arch": ARCH, "model.visual.img_size": 32, "model.adapter.bottleneck": 8}
TEXT = {"num_layers": 2, "intermediate_size": 64}


def small(tower):
    return {f"model.{tower}.{key}": value for key, value in TEXT.items()}


@pytest.mark.parametrize("mode", ["loss", "predict"])
@pytest.mark.parametrize("name", ["vqav2_r128", "coco_caption_r128", "coco_r128"])
def test_every_task_is_measured(name, mode):
    options = {**SMALL, **({} if name == "coco_r128" else small("decoder"))}
    options.update({} if "caption" in name else small("text"))
    config = f"configs/uniadapter/{name}.py"
    variant = tool.Variant(config, options, mode=mode, frames=1, text_length=8)
    result = tool.measure_alone(variant, steps=1, warmup=0)
    assert result["mode"] == mode
    assert (result["loss"] > 1) == (mode == "loss")
    assert f"{mode}: 2 media x 1 frames x 32, 8 tokens a text" in tool.as_table([result])


@pytest.mark.parametrize("name", ["blip_large", "albef", "beit3_base", "beit3_large", "clip"])
def test_every_backbone_is_compared_with_full_fine_tuning(name):
    pytest.importorskip("transformers")
    options = {**SMALL, **small("text")}
    if name in ("blip_large", "albef"):
        options.update({"model.text.encoder_width": 768, "model.queue_size": 8})
        options.update({"model.text.fusion_layer": 1} if name == "albef" else {})
    else:
        options.update({"model.text.hidden_size": 24, "model.text.num_heads": 2})
        options.update({"model.text.vocab_size": 60})
    row = next(row for row in tool.ROWS if row.name == name)
    variants = tool.cases(options)[row.case]
    steppers = {key: Stepper(variant) for key, variant in variants.items()}
    assert all(stepper.step() > 0 for stepper in steppers.values())
    assert steppers["ours"].trainable < steppers["full"].trainable
    assert steppers["full"].trainable == sum(p.numel() for p in steppers["full"].model.parameters())
    assert steppers["ours"].batch["pixels"].shape[:2] == (2, 1)


def small_cases():
    """The rows' variants with one layer and few pixels."""
    options = {**SMALL, **small("text"), "model.queue_size": 8}
    return tool.cases(options)


def run_here(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
    """What the tool starts as a process of its own, in this one."""
    script = str(Path(command[1]).relative_to(ROOT / "tools"))
    with redirect_stdout(io.StringIO()) as printed:
        code = run_script(script, *command[2:])
    return subprocess.CompletedProcess(command, code, printed.getvalue())


def test_a_row_compares_two_variants(monkeypatch):
    monkeypatch.setattr("train_bench.measure.subprocess", SimpleNamespace(PIPE=-1, run=run_here))
    row = next(row for row in tool.ROWS if row.name == "retrieval")
    variants = {k: v for k, v in small_cases()["video"].items() if k in (row.first, row.second)}
    results = tool.measure_case(variants, 1, 0, 1)
    out = tool.finished_row(row, results)
    assert out["loss_error"] < 1e-4
    assert out["first"]["loss_without_dropout"] > 1
    assert out["time_ratio"] == out["second"]["seconds"] / out["first"]["seconds"]
    assert 0.5 < out["memory_ratio"] < 1.5
    assert 0 < out["counted_ratio"] < 1
    assert "retrieval, fp32 / naive fp32" in tool.rows_as_table([out])
    # A row whose losses differ is not met, however fast it was.
    results["ours"]["loss_without_dropout"] += 1
    results["ours"]["seconds"] = results["ours"]["peak_gib"] = 1e-6
    assert not tool.finished_row(row, results)["met"]


def test_a_profile_splits_a_step():
    row = next(row for row in tool.ROWS if row.name == "image")
    options = {**SMALL, **small("text"), "model.queue_size": 8}
    row = tool.profile_row(row, options, steps=1, warmup=0)
    full, ours = row["variants"]
    for one in (full, ours):
        assert one["gflop"]["backward"] > one["gflop"]["losses"] / 3 > 0
        assert one["gflop"]["optimizer"] == 0
        for phase in ("losses", "backward"):
            assert min(one["seconds"][phase][k] for k in ("products", "elementwise")) > 0
            assert one["seconds"][phase]["optimizer"] == 0
        assert one["seconds"]["losses"]["averages"] > 0
        assert one["seconds"]["optimizer"]["optimizer"] > 0
    # Frozen weights need no gradients of their own.
    assert ours["gflop"]["backward"] < full["gflop"]["backward"]
    table = tool.profile_as_table([row])
    assert "full, backward" in table
    assert "ours, all" in table


def test_a_compiled_model_is_measured(config, monkeypatch):
    compiled = []
    # Without inductor, which needs a C++ compiler.
    monkeypatch.setattr(tool.torch, "compile", lambda call: compiled.append(call) or call)
    assert run_one(config, "--precision", "fp32", "--compile")["loss"] > 0
    assert len(compiled) == 1


def test_a_profile_needs_rows(capsys):
    with pytest.raises(SystemExit):
        tool.main(["configs/uniadapter/coco_r128.py", "--profile"])
    assert "--profile needs --rows" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        tool.main(["--rows", "image", "--compile"])
    assert "--compile needs a config" in capsys.readouterr().err


#: Options of some measurements, with their defaults: whoever names one expects it to count.
OPTIONS = {
    "--mode": ["loss"],
    "--batch-size": ["2"],
    "--frames": ["8"],
    "--text-length": ["35"],
    "--img-size": ["224"],
    "--precision": ["both"],
    "--device": ["cpu"],
    "--grad-checkpointing": [],
    "--tasks": ["vqa", "retrieval"],
}
READ = {
    "config.py": [name for name in OPTIONS if name != "--tasks"],
    "--rows": [],
    "--methods": ["--tasks", "--img-size"],
    "--unipt": [],
    "--vl-adapter": [],
}


@pytest.mark.parametrize("chosen", READ)
def test_an_option_that_nothing_reads_is_refused(chosen, capsys):
    common = ["--steps", "3", "--warmup", "1", "--threads", "1", "--json"]
    tool.parse_args([chosen, *common, "--cfg-options", "model.adapter.bottleneck=8"])
    for name, values in OPTIONS.items():
        if name in READ[chosen]:
            tool.parse_args([chosen, name, *values])
            continue
        with pytest.raises(SystemExit):
            tool.parse_args([chosen, name, *values])
        assert f"does not read {name}: leave it out" in capsys.readouterr().err
    if chosen != "config.py":
        with pytest.raises(SystemExit):
            tool.parse_args([chosen, "--precision", "bf16", "--frozen-bf16"])
        assert "--frozen-bf16, --precision" in capsys.readouterr().err


def test_fast_paths_are_switched_one_by_one(config, monkeypatch, capsys):
    ran = []

    def alone(variant, steps, warmup, threads, shares):
        ran.append(variant)
        return tool.measure_alone(variant, steps, warmup, shares and len(ran) == 1)

    monkeypatch.setattr("train_bench.switches.measure_apart", alone)
    monkeypatch.setattr(tool.torch, "compile", lambda call: call)
    tool.main([config, *SIZES, "--warmup", "0", "--switches", "--compile", "--precision", "fp32"])
    names = [field.name for field in fields(FastPaths)]
    choices = [variant.options["model.fast"] for variant in ran]
    assert choices == [True, *({name: False} for name in names), False, True, True]
    assert [variant.compiled for variant in ran] == [False] * (len(names) + 2) + [True, False]
    lines = capsys.readouterr().out.splitlines()
    # The first runner of a process logs to its output.
    table = [line for line in lines if "mmengine - INFO" not in line]
    assert table[0].startswith("cpu, ")
    assert len(table) == 4 + len(names) + 4
    assert table[4].startswith("| fp32 | all fast paths | ")
    # A CPU waits for nothing.
    assert table[4].split(" | ")[6] == "-"
    assert table[4].split(" | ")[7].endswith("% |")


def test_a_gpu_that_is_not_there_is_refused(config, monkeypatch):
    monkeypatch.setattr(tool.torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="torch finds no CUDA device here"):
        tool.main([config, *SIZES, "--precision", "fp32", "--device", "cuda"])


SMALL_UNIPT = {
    "clip4clip": {
        "model.visual.arch": {
            "_delete_": True,
            "embed_dims": 16,
            "num_layers": 2,
            "num_heads": 2,
            "feedforward_channels": 32,
        },
        "model.visual.img_size": 32,
        "model.visual.patch_size": 16,
        "model.text.hidden_size": 16,
        "model.text.num_layers": 2,
        "model.text.num_heads": 2,
        "model.text.intermediate_size": 32,
        "model.text.vocab_size": 600,
        "model.contrast.embed_dim": 8,
        "model.data_preprocessor": None,
        "model.adapter.bottleneck": 4,
    }
}


def test_unipt_beside_other_methods(monkeypatch):
    """In this process, so that memory is not each method's own; figures are there."""
    monkeypatch.setattr(
        unipt, "measure_apart", lambda v, steps, warmup, _: measure_alone(v, steps, warmup)
    )
    results = unipt.measure_unipt(["clip4clip"], SMALL_UNIPT["clip4clip"], True, (1, 1, 1))
    runs = results["clip4clip"]
    assert list(runs) == list(unipt.CASES["clip4clip"].methods)
    trained = [run["trainable"] for run in runs.values()]
    # The side networks are the same, wherever their taps come from.
    assert trained[3] == trained[4] < trained[0]
    # Half precision rounds the taps alone.
    assert runs["UniPT"]["loss"] == pytest.approx(runs["UniPT, taps on disk"]["loss"], abs=1e-2)
    kept = runs["UniPT, taps on disk"]["tap_mib"]
    assert kept * 2**20 == pytest.approx(12 * 3 * 5 * 16 * 2, rel=0.6)
    table = unipt.as_table(results)
    assert "full fine-tuning" in table
    assert "time <= 0.15" in table
    assert "a pair)" in table


def test_every_row_of_unipt_builds():
    for case in unipt.CASES.values():
        for name in case.methods:
            cfg = unipt.variant_of(case, name, {}, False).read_config()
            adapter = cfg.model.get("adapter")
            kind = None if adapter is None else adapter["type"]
            assert kind == (None if name.startswith("full") else name.split(" ")[0].rstrip(","))
            assert cfg.model.visual.img_size == 224
