"""``benchmark_train.py --vl-adapter``: joint steps of VL-BART beside full fine-tuning."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.helpers import load_tool

TOOL = load_tool("analysis_tools/benchmark_train.py")
# Importable once the tool has put its folder on the path.
from train_bench import vl_adapter  # noqa: E402
from train_bench.features import Numerals  # noqa: E402
from train_bench.measure import measure_alone  # noqa: E402
from train_bench.variant import Stepper, Variant  # noqa: E402

SMALL: dict[str, Any] = {
    "model.text.arch": {
        "_delete_": True,
        "hidden_size": 16,
        "num_layers": 2,
        "num_heads": 2,
        "intermediate_size": 24,
    },
    "model.text.vocab_size": 60,
}


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Variant]:
    """Small models in this process, so that memory is not each method's own; figures are there."""
    found: list[Variant] = []

    def alone(variant: Variant, steps: int, warmup: int, threads: int) -> dict[str, Any]:
        found.append(variant)
        options = {**SMALL, **variant.options}
        return measure_alone(replace(variant, batch_size=2, options=options), steps, warmup)

    monkeypatch.setattr(vl_adapter, "measure_apart", alone)
    return found


def test_methods_are_measured_beside_full_fine_tuning(ran: list[Variant]) -> None:
    runs = vl_adapter.measure_vl_adapter(vl_adapter.METHODS, {}, (1, 0, 1))
    assert list(runs) == list(vl_adapter.METHODS)
    assert {(v.batch_size, v.text_length, v.target_length) for v in ran} == {(32, 20, 10)}
    assert all(run["features"] == [49, 2048] and run["loss"] > 1 for run in runs.values())
    trained = {name: run["trainable"] for name, run in runs.items()}
    assert trained["compacter_single"] < trained["single"] < trained["half_shared"]
    assert trained["half_shared"] < trained["multiple"]
    full = runs["full"]
    assert full["time"] == 1
    for run in runs.values():
        assert run["time"] == run["cpu_seconds_per_step"] / full["cpu_seconds_per_step"]
        assert run["above_gib"] == pytest.approx(run["peak_gib"] - run["built_gib"], abs=2e-3)
    table = vl_adapter.as_table(runs).splitlines()
    assert "20 tokens, each with 49 features of 2048, and targets of 10, " in table[0]
    assert table[4].startswith(f"| full fine-tuning | {full['trainable']:,} | ")
    assert len(table) == 4 + len(runs)
    assert {line.count("|") for line in table[2:]} == {9}


def test_rows_are_chosen_and_full_fine_tuning_is_there(
    ran: list[Variant], capsys: pytest.CaptureFixture
) -> None:
    sizes = ["--steps", "1", "--warmup", "0", "--threads", "1"]
    options = ["--json", "--cfg-options", "model.text.dropout=0.0"]
    TOOL.main(["--vl-adapter", "prompt_single", *sizes, *options])
    lines = capsys.readouterr().out.splitlines()
    # The first optimizer of a process logs to its output.
    assert list(json.loads(lines[-1])) == ["full", "prompt_single"]
    assert [variant.options for variant in ran] == [{"model.text.dropout": 0.0}] * 2


def test_all_but_some_rows_are_left_out_if_none_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    names: list[str] = []
    monkeypatch.setattr(TOOL, "measure_vl_adapter", lambda n, *_: names.extend(n) or {})
    TOOL.main(["--vl-adapter", "--threads", "1", "--json"])
    assert names == [
        "full",
        "single",
        "lora_single",
        "prompt_single",
        "compacter_single",
        "hyperformer",
    ]
    assert capsys.readouterr().out == "{}\n"


def test_a_step_is_of_the_published_size_and_every_task_has_its_turn() -> None:
    """36 tokens of 49 cells; after a round, each task's parameters have been trained."""
    variant = replace(vl_adapter.variant_of("multiple", SMALL), batch_size=3)
    stepper = Stepper(variant)
    model, batch = stepper.model, stepper.batch
    assert model.visual_tokens == 36
    assert batch["features"].shape == (3, 1, 49, 2048)
    assert batch["input_ids"].shape == (3, 20)
    assert batch["attention_mask"].all()
    # Words, neither marks nor those of things in pictures.
    assert 3 < batch["input_ids"].min() <= batch["input_ids"].max() < 60
    ids, _ = model.tokenizer([sample.target for sample in batch["data_samples"]], None)
    assert ids.shape == (3, 10)
    assert model.tokenizer.vocab_size == 260
    seen = []
    state = stepper.wrapper.optimizer.state
    trained = [p for p in model.parameters() if p.requires_grad]
    for _ in range(4):
        stepper.step()
        seen.append(batch["data_samples"][0].task)
        assert (len(state) == len(trained)) == (len(seen) == 4)
    assert seen == list(model.tasks.names)


def test_every_row_builds() -> None:
    adapters = {"full": None, "lora_single": "LoRA", "prompt_single": "PromptTuning"}
    adapters["hyperformer"] = "Hyperformer"
    for name in vl_adapter.METHODS:
        cfg = vl_adapter.variant_of(name, {}).read_config()
        adapter = cfg.model.get("adapter")
        kind = None if adapter is None else adapter["type"]
        assert kind == adapters.get(name, "VLAdapter")
        assert cfg.model.text.arch == "base"
        assert cfg.model.data_preprocessor.tokenizer["vocab_size"] == 50465


def test_what_is_not_read_is_refused(capsys: pytest.CaptureFixture) -> None:
    for key in ("model.adapter", "model.adapter.reduction_factor"):
        with pytest.raises(SystemExit, match=f"does not read {key}: leave it out"):
            TOOL.main(["--vl-adapter", "--cfg-options", f"{key}=4"])
    # VL-BART reads no pixels, and other language models no pictures.
    for name in ("vl_adapter/bart_image_single", "unipt/t5_mrpc"):
        with pytest.raises(SystemExit, match=r"'model\.visual' is not set.*--vl-adapter"):
            TOOL.main([f"configs/{name}.py", "--precision", "fp32"])
    with pytest.raises(SystemExit):
        TOOL.parse_args(["--vl-adapter", "--unipt"])
    assert "--unipt or --vl-adapter" in capsys.readouterr().err


def test_numerals_are_their_own_words() -> None:
    words = Numerals(vocab_size=12, words=9)
    ids, mask = words(["5 8", "4"])
    assert ids.tolist() == [[0, 5, 8, 2], [0, 4, 2, 1]]
    assert mask.tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert words.decode(torch.arange(12)) == "4 5 6 7 8"
    assert words.decode([0, 11], skip_special_tokens=False) == "0 11"
    assert words.decoder_start_id == 2
