"""``benchmark_train.py --methods``: what a step of every method costs beside full fine-tuning."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers import load_tool

TOOL = load_tool("analysis_tools/benchmark_train.py")
# Importable once the tool has put its folder on the path.
from train_bench import methods  # noqa: E402
from train_bench.variant import Variant  # noqa: E402


@pytest.fixture
def slowing(monkeypatch: pytest.MonkeyPatch) -> list[Variant]:
    """A machine that gets slower with every run; methods take half of full fine-tuning's."""
    ran: list[Variant] = []

    def run(variant: Variant, steps: int, warmup: int, threads: int) -> dict[str, Any]:
        ran.append(variant)
        variant.read_config()
        base = 1.0 + 0.1 * len(ran)
        share = 1.0 if "full_finetune" in variant.config else 0.5
        return {
            "seconds_per_step": base * share,
            "cpu_seconds_per_step": 2 * base * share,
            "peak_gib": 3.0 * share,
            "trainable": 1000 * len(ran),
            "batch_size": variant.batch_size,
            "img_size": 224,
            "threads": threads,
            "torch": f"{steps}.{warmup}",
        }

    monkeypatch.setattr(methods, "measure_apart", run)
    return ran


def test_every_method_stands_between_two_runs_of_full_fine_tuning(slowing: list[Variant]) -> None:
    names = [method.name for method in methods.METHODS]
    results = methods.measure_methods(names, methods.TASKS, {}, None, (2, 1, 1))
    # 15 methods: 5 runs of full fine-tuning a task, and all configs can be read.
    assert len(slowing) == 2 * (15 + 5)
    for task in results.values():
        assert list(task["methods"]) == names
        for result in task["methods"].values():
            assert result["memory"] == pytest.approx(0.5)
            # Divided by the run before alone, the slowdown would show: up to 0.6.
            assert result["time"] == pytest.approx(0.5, abs=0.06)
            assert result["cpu_time"] == pytest.approx(result["time"])
    text = methods.as_table(results)
    assert "| UniAdapter r=512 |" in text
    assert "0.86, 0.76" in text
    assert len(text.splitlines()) == 2 + 2 + 1 + 15


def test_methods_are_chosen_by_name(slowing: list[Variant], capsys: Any) -> None:
    TOOL.main(["--methods", "lora", "linear_probe", "--tasks", "vqa", "--threads", "1"])
    assert [variant.config.split("/")[1] for variant in slowing] == [
        "full_finetune",
        "linear_probe",
        "lora",
        "full_finetune",
    ]
    assert "VQA: time" in capsys.readouterr().out


@pytest.mark.deep
def test_a_method_is_measured() -> None:
    """A real run, of a tiny model."""
    layer = {"num_layers": 1, "intermediate_size": 64}
    options: dict[str, Any] = {f"model.text.{key}": value for key, value in layer.items()}
    options["model.visual.arch"] = {
        "_delete_": True,
        "embed_dims": 768,
        "num_layers": 1,
        "num_heads": 12,
        "feedforward_channels": 64,
    }
    options |= {"model.visual.img_size": 32, "model.queue_size": 8}
    results = methods.measure_methods(["bitfit"], ["retrieval"], options, None, (1, 0, 1))
    result = results["retrieval"]["methods"]["bitfit"]
    assert 0 < result["trainable"] < results["retrieval"]["full"][0]["trainable"]
    assert result["memory"] > 0


def test_a_choice_is_asked_for(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        TOOL.parse_args(["--methods", "--rows"])
    assert "--methods" in capsys.readouterr().err
