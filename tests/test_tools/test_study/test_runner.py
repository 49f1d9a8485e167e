"""The study's trials: their order, what a result is bound to, what is left of those that fail."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from tests.helpers import ROOT
from tools.study.plan import Job, plan, share
from tools.study.pool import run_jobs
from tools.study.results import Store, read_file
from tools.study.rows import PAPER_TASKS, ROWS, TABLES, chooser_of, find, matching
from tools.study.scale import small_adapter, small_layers
from tools.study.trials import BUDGETS, RATES, Setting, Trial, config_of
from uniadapter.utils.config import load_config
from uniadapter.utils.safe_io import atomic_write

LORA, PROBE = find("retrieval/lora_r512"), find("retrieval/linear_probe")


def measured(value: float) -> dict[str, Any]:
    measures = {"t2v/RMean": value, "accuracy": value}
    return {"test": measures, "val": measures}


def by_rate(cfg: Config, folder: Path) -> dict[str, Any]:
    """A stub of a training: the higher rates are worse."""
    return measured(-cfg.optim_wrapper.optimizer.lr)


def run(store: Store, jobs: list[Job], run_one: Any, workers: int = 2) -> list[str]:
    failures = run_jobs(jobs, store, run_one, workers, store.folder.parent / "logs")
    return [f"{failure.job}: {failure.reason}" for failure in failures]


def files(store: Store) -> list[str]:
    return sorted(
        p.relative_to(store.folder).as_posix() for p in store.folder.rglob("*") if p.is_file()
    )


def test_every_row_has_a_config_a_family_and_a_table():
    assert len({row.key for row in ROWS}) == len(ROWS)
    shown = {f"{table.task}/{name}" for table in TABLES for _, name in table.rows}
    assert shown == {row.key for row in ROWS}
    for row in ROWS:
        assert (ROOT / f"configs/{row.leaf}.py").is_file()
        assert (chooser_of(row).task, chooser_of(row).family) == (row.task, row.family)


def test_widths_and_layers_shrink_by_one_rule():
    paper = {"type": "UniAdapter", "bottleneck": 512, "layers": "5-12", "scale": 0.1}
    small = {"type": "UniAdapter", "bottleneck": 32, "layers": "2,3,4", "scale": 1.0}
    assert small_adapter(paper, 1.0) == small
    assert small_adapter({"type": "MAM", "prefix": 30, "bottleneck": 512}, 1.0) == {
        "type": "MAM",
        "prefix": 2,
        "bottleneck": 32,
    }
    assert small_layers("1-4,9-12") == "1,4"
    assert small_layers("1-12") == "1,2,3,4"
    with pytest.raises(ValueError, match="stand together"):
        small_layers("3-8")


def test_rates_come_first_then_the_first_seed_of_all_rows():
    jobs = plan([LORA, PROBE, find("videoqa/lora_r512")], [0, 1, 2], Setting())
    retrieval = jobs[: 2 * len(RATES) + 2]
    assert [job.rate for job in retrieval] == [*RATES, *RATES, None, None]
    assert [job.chooses for job in retrieval] == [True] * (2 * len(RATES)) + [False] * 2
    assert {job.row.task for job in retrieval} == {"retrieval"}
    assert [job.seed for job in jobs[len(retrieval) + len(RATES) + 1 :]] == [1, 1, 1, 2, 2, 2]
    parts = [share(jobs, index, 3) for index in range(3)]
    assert sorted(map(str, sum(parts, []))) == sorted(map(str, jobs))
    with pytest.raises(ValueError, match="from 0 to 2"):
        share(jobs, 3, 3)


def test_a_config_is_held_out_trained_and_printed(store: Store, tmp_path: Path):
    trial = Trial(find("retrieval/layers_1_4"), 7, 3e-3, 4)
    cfg = config_of(trial, store.setting)
    assert cfg.randomness.seed == 7
    assert cfg.model.adapter.layers == "1"
    assert cfg.model.adapter.bottleneck == 32
    assert cfg.train_dataloader.dataset.indices == 18 * 3
    assert cfg.val_dataloader.dataset.indices == [18, 19]
    assert cfg.test_dataloader.dataset.get("indices") is None
    assert cfg.train_cfg.max_iters == 4
    printed = tmp_path / "row.py"
    printed.write_text(cfg.dump(), encoding="utf-8")
    assert load_config(str(printed)).to_dict() == cfg.to_dict()


def test_the_best_rate_is_taken_and_finished_trials_are_not_run_again(store: Store):
    jobs = plan([PROBE], [0, 1], store.setting)
    assert run(store, jobs, by_rate) == []
    assert store.chosen_rate(PROBE) == min(RATES)
    # The first seed is among the trials that chose the rate.
    assert len(files(store)) == len(RATES) + 1
    assert store.of_row(PROBE, [0, 1, 2]).keys() == {0, 1}

    def refuse(cfg: Config, folder: Path) -> dict[str, Any]:
        raise AssertionError("it was finished")

    assert run(store, jobs, refuse) == []


def test_a_training_that_diverges_loses(store: Store):
    def diverges(cfg: Config, folder: Path) -> dict[str, Any]:
        low = cfg.optim_wrapper.optimizer.lr == min(RATES)
        return {"diverged": "the loss is nan"} if low else by_rate(cfg, folder)

    assert run(store, plan([PROBE], [0], store.setting), diverges) == []
    assert store.chosen_rate(PROBE) == sorted(RATES)[1]


def test_a_length_is_chosen_at_the_best_rate(store: Store, monkeypatch: pytest.MonkeyPatch):
    budget = replace(BUDGETS["retrieval"], lengths=(4, 8, 12))
    monkeypatch.setitem(BUDGETS, "retrieval", budget)
    store.setting = Setting(store.setting.world)

    def longer_is_better_to_8(cfg: Config, folder: Path) -> dict[str, Any]:
        steps = cfg.train_cfg.max_iters
        return measured(-cfg.optim_wrapper.optimizer.lr - abs(steps - 8))

    jobs = plan([PROBE], [0, 1], store.setting)
    assert run(store, jobs, longer_is_better_to_8, workers=3) == []
    assert store.chosen(PROBE) == (min(RATES), 8)
    results = [read_file(store.folder / name) for name in files(store)]
    assert sorted((one["rate"], one["steps"]) for one in results) == sorted(
        [(rate, 4) for rate in RATES] + [(min(RATES), steps) for steps in (8, 8, 12)]
    )


def test_a_result_is_of_its_config_and_data(store: Store, world: Path):
    trial = Trial(PROBE, 0, RATES[0], 4)
    store.write(trial, measured(1.0))
    assert Store(store.folder, store.setting).read(trial) is not None
    assert store.read(replace(trial, seed=1)) is None
    facts = json.loads((world / "world.json").read_text(encoding="utf-8"))
    other = json.dumps({**facts, "videos_sha256": "another"})
    (world / "world.json").write_text(other, encoding="utf-8")
    assert Store(store.folder, store.setting).read(trial) is None


def test_where_the_data_lie_does_not_count(store: Store, world: Path, tmp_path: Path):
    trial = Trial(find("videoqa/linear_probe"), 0, RATES[0], 4)
    store.write(trial, measured(1.0))
    moved = world.rename(tmp_path / "elsewhere")
    assert Store(store.folder, Setting(moved, steps=4)).read(trial) is not None


@pytest.mark.parametrize("task", PAPER_TASKS)
def test_no_config_names_the_folder_that_the_data_have_by_default(store: Store, task: str):
    """Else a result would be of another config where the data lie there."""
    cfg = config_of(Trial(find(f"{task}/linear_probe"), 0, RATES[0], 4), store.setting)
    assert "toy_world" not in json.dumps(cfg.to_dict(), default=repr)
    assert str(store.setting.world) in cfg.data_root


def test_a_row_that_fails_or_dies_is_named_and_the_rest_goes_on(store: Store):
    def some(cfg: Config, folder: Path) -> dict[str, Any]:
        rate = cfg.optim_wrapper.optimizer.lr
        if rate == RATES[0]:
            raise RuntimeError("no memory left for this")
        if rate == RATES[1]:
            os.kill(os.getpid(), signal.SIGKILL)
        return measured(rate)

    failures = run(store, plan([PROBE], [0], store.setting), some)
    assert len(files(store)) == len(RATES) - 2
    assert any("no memory left" in line and "output.txt" in line for line in failures)
    assert any("SIGKILL" in line for line in failures)
    assert any("rate of its family is not chosen" in line for line in failures)
    # What is missing is run again, and the row with it.
    assert run(store, plan([PROBE], [0], store.setting), by_rate) == []


def test_a_file_that_is_no_result_is_named(store: Store):
    path = Trial(PROBE, 0, RATES[0], 4).file(store.folder)
    path.parent.mkdir(parents=True)
    path.write_text('{"row": "retrieval/li', encoding="utf-8")
    failures = run(store, plan([PROBE], [0], store.setting), by_rate)
    assert any(str(path) in line and "delete it" in line for line in failures)


def test_patterns():
    assert [row.name for row in matching("retrieval/towers_*")] == [
        "towers_v",
        "towers_t",
        "towers_vt",
        "towers_c",
    ]
    assert {row.task for row in matching("lora_r512")} == {"retrieval", "videoqa"}
    with pytest.raises(ValueError, match="matches no row"):
        matching("lora_r5")


def test_a_study_that_is_stopped_ends_its_children_and_leaves_whole_files(store: Store):
    """Its first trial is finished, the second never ends, then the study is told to stop."""
    pid_file = store.folder.parent / "pid"

    def one(cfg: Config, folder: Path) -> dict[str, Any]:
        if cfg.optim_wrapper.optimizer.lr == RATES[1]:
            atomic_write(pid_file, str(os.getpid()).encode())
            time.sleep(600)
        return by_rate(cfg, folder)

    study = multiprocessing.get_context("fork").Process(
        target=run, args=(store, plan([PROBE], [0], store.setting), one, 1)
    )
    study.start()
    while not pid_file.exists():
        assert study.is_alive()
        time.sleep(0.05)
    study.terminate()
    study.join(60)
    assert study.exitcode != 0
    assert files(store) == [f"retrieval/linear_probe/seed0_lr{RATES[0]:g}.json"]
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
