"""The study's tables and figures say what the results say, and what is missing."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.helpers import draws
from tools.study import claims as claims_of
from tools.study.results import Store
from tools.study.rows import PAPER_TASKS, TABLES, Row, find
from tools.study.tables import (
    BEGIN,
    END,
    MEASURES,
    Report,
    claims,
    costs,
    page_text,
    rates,
    state,
    table,
    write_page,
)
from tools.study.trials import RATES, Setting, Trial
from tools.study.vl import VL_TASKS
from uniadapter.utils.safe_io import atomic_write

UNIADAPTER, UNIPT = find("retrieval/uniadapter_r512"), find("retrieval/unipt")
SHARED = find("retrieval/sharing_up")
TAKEN = RATES[1]
PERCENT = st.floats(0, 100, allow_nan=False).map(lambda value: round(value, 2))


def result(value: float, **changes: Any) -> dict[str, Any]:
    recalls = {f"{way}/{name}": value for way in ("t2v", "v2t") for name in ("R1", "R5", "R10")}
    measures = {**recalls, "t2v/RMean": value, "rsum": 6 * value, "accuracy": value}
    return {
        "test": measures,
        "val": measures,
        "curve": [[2, {"t2v/RMean": value / 2}], [4, {"t2v/RMean": value}]],
        "parameters": {"trainable": 1234, "total": 5000},
        "cpu_seconds": 36.0,
        "step_cpu_seconds": 0.2,
        "step_bytes": 1000,
        **changes,
    }


def choose(store: Store, row: Row, value: float = 50.0) -> None:
    """Results of all rates with the first seed; the second one is the best."""
    for rate in RATES:
        store.write(Trial(row, 0, rate, 4), result(value if rate == TAKEN else value / 2))


def cells(text: str, label: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {label} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def named(name: str) -> Any:
    return next(one for one in TABLES if one.name == name)


@settings(max_examples=draws(25), deadline=None)
@given(st.lists(st.tuples(PERCENT, PERCENT), max_size=5), st.integers(0, 3))
def test_differences_are_of_common_seeds(pairs: list[tuple[float, float]], extra: int):
    better = {seed: pair[0] for seed, pair in enumerate(pairs)}
    worse = {seed: pair[1] for seed, pair in enumerate(pairs)}
    better |= {100 + seed: 1e6 for seed in range(extra)}
    gaps = np.array(claims_of.differences(better, worse))
    assert gaps == pytest.approx(np.array([b - w for b, w in pairs]))
    said, half = claims_of.verdict(list(gaps)), claims_of.half_interval(list(gaps))
    if len(gaps) < 2:
        assert half is None
        assert said == ("not told by one seed" if len(gaps) else "not run")
        return
    error = gaps.std(ddof=1) / np.sqrt(len(gaps))
    assert half == pytest.approx(error * claims_of.T_95[len(gaps) - 1], abs=1e-9)
    if said == "holds":
        assert gaps.mean() - half > 0
    elif said == "does not hold":
        assert gaps.mean() + half < 0
    else:
        assert said == "cannot be told"
        assert abs(gaps.mean()) <= half + 1e-9


@settings(max_examples=draws(25), deadline=None)
@given(
    st.lists(st.floats(-20, 20, allow_nan=False), min_size=2, max_size=5),
    st.sampled_from([(-claims_of.LEVEL, claims_of.LEVEL), (claims_of.FAR, np.inf), (0.0, np.inf)]),
)
def test_a_claim_holds_where_the_whole_interval_is_in_its_bounds(gaps, bounds):
    half = claims_of.T_95[len(gaps) - 1] * np.std(gaps, ddof=1) / np.sqrt(len(gaps))
    low, high = np.mean(gaps) - half, np.mean(gaps) + half
    if min(abs(end - bound) for end in (low, high) for bound in bounds) < 1e-9:
        return
    # Points of the interval, its ends among them, and of those the ones that the claim allows.
    inside = [bounds[0] < x < bounds[1] for x in np.linspace(low, high, 1001)]
    said = claims_of.verdict(gaps, *bounds)
    if said == "holds":
        assert all(inside)
    elif said == "does not hold":
        assert not any(inside)
    else:
        assert said == "cannot be told"
        assert not all(inside)


def test_the_intervals_are_those_of_students_t():
    # x = tan(angle) makes the whole axis finite.
    angles = (np.arange(200_000) + 0.5) / 200_000 * np.pi - np.pi / 2
    for freedom, bound in claims_of.T_95.items():
        density = (1 + np.tan(angles) ** 2 / freedom) ** (-(freedom + 1) / 2) / np.cos(angles) ** 2
        inside = density[np.abs(np.tan(angles)) < bound].sum() / density.sum()
        assert inside == pytest.approx(0.95, abs=1e-3)


@settings(max_examples=draws(25), deadline=None)
@given(st.lists(PERCENT, max_size=4))
def test_spread_is_mean_and_standard_deviation(values: list[float]):
    said = claims_of.spread(values)
    if len(values) < 2:
        assert said == (f"{values[0]:.1f}" if values else "-")
    else:
        assert said == f"{mean(values):.1f} ± {stdev(values):.1f}"


def test_a_row_has_its_seeds_its_rate_and_the_papers_figures(store: Store):
    choose(store, UNIADAPTER)
    for seed, value in ((0, 40.0), (1, 42.0), (2, 47.0)):
        store.write(Trial(SHARED, seed, TAKEN, 4), result(value))
    text = table(Report(store, [0, 1, 2], PAPER_TASKS), named("table 3, retrieval"))
    head = cells(text, "row")
    up = dict(zip(head, cells(text, "up"), strict=True))
    assert up["R@1 (paper)"] == "50.1"
    assert up["R@Mean (paper)"] == "70.3"
    assert up["R@Mean"] == "43.0 ± 3.6"
    assert up["sum"] == "258.0 ± 21.6"
    assert (up["trained"], up["rate"], up["seeds"]) == ("1,234", f"{TAKEN:g}", "3")
    down = dict(zip(head, cells(text, "down"), strict=True))
    assert (down["R@Mean"], down["seeds"]) == ("50.0", "1")
    assert cells(text, "none")[-1] == "0"


def test_rates_are_shown_as_tried(store: Store):
    choose(store, UNIADAPTER)
    for rate in RATES[:2]:
        store.write(Trial(UNIPT, 0, rate, 4), {"diverged": "the loss is nan", "cpu_seconds": 1.0})
    text = rates(Report(store, [0], PAPER_TASKS)).split("**VideoQA")[0]
    assert cells(text, "uniadapter") == [
        "uniadapter",
        "25.0",
        "50.0",
        "25.0",
        "25.0",
        "0.001",
        "no",
    ]
    assert cells(text, "unipt") == ["unipt", "diverged", "diverged", "-", "-", "-", ""]


def test_a_rate_at_the_edge_is_said(store: Store):
    for rate in RATES:
        store.write(Trial(UNIADAPTER, 0, rate, 4), result(rate))
    assert (
        cells(rates(Report(store, [0], PAPER_TASKS)).split("**VideoQA")[0], "uniadapter")[-1]
        == "yes"
    )


def test_claims_are_held_against_results(store: Store):
    choose(store, UNIADAPTER)
    for seed in (1, 2):
        store.write(Trial(UNIADAPTER, seed, TAKEN, 4), result(50.0 + seed))
    for seed in (0, 1, 2):
        store.write(Trial(SHARED, seed, TAKEN, 4), result(40.0 + seed * 1.01))
    text = claims(Report(store, [0, 1, 2], PAPER_TASKS))
    (line,) = [x for x in text.splitlines() if "sharing down beats up |" in x and "retrieval" in x]
    assert [cell.strip() for cell in line.strip("|").split("|")][2:] == [
        "+1.2",
        "+10.0 ± 0.0",
        "3 of 3",
        "holds",
    ]
    assert "not run" in text


def test_costs_are_relative_to_full_fine_tuning(store: Store):
    choose(store, UNIPT)
    full = find("retrieval/full_finetune")
    for rate in RATES:
        changes = {"step_cpu_seconds": 0.8, "step_bytes": None if rate == TAKEN else 4000}
        store.write(Trial(full, 0, rate, 4), result(1.0, **changes))
    text = costs(Report(store, [0], PAPER_TASKS))
    # The trial that was taken is counted with the others of the choice.
    assert cells(text, "UniPT")[3:5] == ["0.25", "0.25"]
    assert cells(text, "LoRA, 512")[3:5] == ["-", "-"]


def test_the_page_says_what_is_missing_and_keeps_its_text(store: Store, tmp_path: Path):
    choose(store, UNIADAPTER)
    store.write(Trial(SHARED, 0, RATES[-1], 4), result(1.0))
    report = Report(store, [0, 1], PAPER_TASKS)
    said = state(report)
    assert said.startswith("**State**: 1 of ")
    # All rates of one row, the last of them twice: as its row's, with the first seed.
    assert "4 of 161 trials" in said
    assert "Without seeds 1: retrieval/uniadapter_r512. " in said
    assert "Without seeds 0, 1: retrieval/full_finetune, retrieval/adapter_r512" in said
    assert "1 files are of another config" in said
    page = tmp_path / "page.md"
    page.write_text(f"# Before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    write_page(report, page)
    first = page.read_text(encoding="utf-8")
    assert first.startswith(f"# Before\n{BEGIN}\n")
    assert first.endswith(f"{END}\nafter\n")
    assert "old" not in first
    assert "![" not in first
    picture = tmp_path / "images/study_steps.png"
    atomic_write(picture, b"drawn")
    write_page(report, page)
    assert "](images/study_steps.png)" in page.read_text(encoding="utf-8")
    assert "study_cost" not in page.read_text(encoding="utf-8")
    picture.unlink()
    write_page(report, page)
    assert page.read_text(encoding="utf-8") == first
    page.write_text(END + BEGIN, encoding="utf-8")
    with pytest.raises(ValueError, match="in order"):
        write_page(report, page)


def test_figures_are_drawn_of_all_and_of_no_results(store: Store, tmp_path: Path):
    pytest.importorskip("matplotlib")
    from tools.study.figures import write_figures

    for path in write_figures(Report(store, [0], PAPER_TASKS), tmp_path / "none"):
        assert Image.open(path).size > (300, 300)
    for row in (UNIADAPTER, UNIPT, find("retrieval/full_finetune")):
        choose(store, row)
    store.write(Trial(UNIADAPTER, 1, TAKEN, 4), result(60.0))
    for path in write_figures(Report(store, [0, 1], PAPER_TASKS), tmp_path / "some"):
        drawn = np.asarray(Image.open(path).convert("L"), dtype=float)
        empty = np.asarray(Image.open(tmp_path / "none" / path.name).convert("L"), dtype=float)
        assert drawn.shape != empty.shape or np.abs(drawn - empty).max() > 50


def test_easy_vqa_has_its_lengths(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    row = find("easy_vqa/linear_probe")
    monkeypatch.setattr(
        "tools.study.results.Store.fingerprints", lambda self, trial: {"config": "0"}
    )
    store.setting = Setting(store.setting.world)
    first, second = store.setting.lengths("easy_vqa")
    kinds = {f"question_type/{kind}": 7.0 for kind in ("color", "shape", "yes_no")}
    for rate, steps in (*((rate, first) for rate in RATES), (TAKEN, second)):
        value = 20.0 + steps / second if rate == TAKEN else 10.0
        measures = {"accuracy": value, **kinds}
        one = {**result(0.0), "test": measures, "val": measures}
        store.write(Trial(row, 0, rate, steps), one)
    report = Report(store, [0], ["easy_vqa"])
    assert cells(rates(report), "linear_probe")[5:] == [f"{TAKEN:g}", "no", "21.0"]
    line = cells(table(report, named("easy-VQA")), "linear probe")
    assert line[1:] == ["21.0", "7.0", "7.0", "7.0", "1,234", f"{TAKEN:g}", f"{second:,}", "1"]
    assert "Time and memory" not in page_text(report, tmp_path)


def test_vl_adapters_page_has_its_claims_and_its_picture(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        "tools.study.results.Store.fingerprints", lambda self, trial: {"config": "0"}
    )
    known = {"Average": 30.0, "VQA": 10.0, "GQA": 20.0, "NLVR2": 50.0, "CIDEr": 40.0}
    keys = MEASURES["vl_bart_image"]
    blind = {keys[name]: value for name, value in known.items()}
    monkeypatch.setattr("tools.study.tables.blind", lambda cfg: blind)
    monkeypatch.setattr("tools.study.tables.config_of", lambda trial, setting: None)
    empty = page_text(Report(store, [0, 1, 2], VL_TASKS), tmp_path)
    assert f"less than {claims_of.LEVEL:g} points" in empty
    orders = [line for line in empty.splitlines() if line.endswith("| not run |")]
    assert len(orders) == sum(claim.task in VL_TASKS for claim in claims_of.CLAIMS)
    assert all("| - | - | not run |" in line for line in orders)

    def run(name: str, values: tuple[float, ...]) -> None:
        row = find(f"vl_bart_image/{name}")
        for rate in RATES:
            one = {**result(0.0), "val": {"average": 0.0}}
            store.write(Trial(row, 0, rate, 4), {**one, "test": dict.fromkeys(blind, 0.0)})
        for seed, value in enumerate(values):
            one = {**result(0.0), "val": {"average": 1.0}, "test": dict.fromkeys(blind, value)}
            store.write(Trial(row, seed, TAKEN, 4), one)

    for name, values in (
        ("full", (60.0, 61.0, 62.0)),
        ("single", (59.0, 60.1, 61.0)),
        ("prompt_single", (58.0, 59.1, 60.0)),
        ("visual_only", (40.0, 41.1, 42.0)),
    ):
        run(name, values)
    report = Report(store, [0, 1, 2], VL_TASKS)
    text = page_text(report, tmp_path)
    said = {
        cells[1]: (cells[2], cells[-1])
        for cells in (
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in claims(report).splitlines()
        )
        if cells[0].endswith("VL-BART, image tasks")
    }
    assert said["single adapter level with full"] == ("+0.2", "holds")
    assert said["prompt far behind single adapter"] == ("+18.4", "does not hold")
    assert said["visual only far behind single adapter"] == ("+30.3", "holds")
    assert said["single adapter beats single LoRA"] == ("+0.9", "not run")
    shown = table(report, named("VL-Adapter, VL-BART, image tasks"))
    assert cells(shown, "no picture, constants of training")[1:7] == [
        "-",
        *(f"{known[name]:.1f}" for name in keys),
    ]
    assert cells(shown, "single adapter")[1:3] == ["77.4", "60.0 ± 1.0"]
    assert "![" not in text
    if find_spec("matplotlib") is None:
        return
    from tools.study.figures import write_figures

    assert write_figures(Report(store, [0], ["vl_t5_image"]), tmp_path) == []
    (picture,) = write_figures(report, tmp_path)
    assert np.asarray(Image.open(picture).convert("L")).std() > 1
    assert f"]({tmp_path.name}/{picture.name})" in page_text(report, tmp_path)
