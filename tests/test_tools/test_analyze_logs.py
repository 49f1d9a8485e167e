from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.helpers import draws
from tools.analysis_tools.analyze_logs import main, train_time
from uniadapter.visualization.logs import read_times


def write(folder: Path, date: str, lines: list[dict]) -> Path:
    path = folder / date / "vis_data" / "scalars.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return folder


def line(epoch: int, iteration: int, seconds: float) -> dict:
    values = {"loss": 1.0 / iteration, "time": seconds, "data_time": 0.0}
    return {**values, "epoch": epoch, "iter": iteration, "step": iteration}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two epochs of three lines, the second resumed, with a validation between."""
    lines = [line(1, 1, 9.0), line(1, 2, 1.0), line(1, 3, 2.0), {"t2v/R1": 1.0, "time": 50.0}]
    write(tmp_path / "a", "20260101_000000", [*lines, line(2, 4, 7.0)])
    resumed = [line(2, 4, 8.0), line(2, 5, 3.0), line(2, 6, 5.0)]
    return write(tmp_path / "a", "20260102_000000", resumed)


def test_times_of_a_resumed_run(run: Path, capsys: pytest.CaptureFixture[str]):
    assert read_times(run) == {1: [9.0, 1.0, 2.0], 2: [8.0, 3.0, 5.0]}
    main(["cal_train_time", str(run)])
    told = capsys.readouterr().out.splitlines()
    assert told[1:] == [
        "slowest epoch 2, average time is 4.0000 s/iter",
        "fastest epoch 1, average time is 1.5000 s/iter",
        "time std over epochs is 1.2500",
        "average iter time: 2.7500 s/iter",
    ]
    main(["cal_train_time", str(run), "--include-outliers"])
    assert "average iter time: 4.6667 s/iter" in capsys.readouterr().out


LINES = st.lists(st.floats(0, 9), min_size=2, max_size=5)


@settings(max_examples=draws(10))
@given(
    st.dictionaries(
        st.integers(1, 9), st.lists(st.floats(0, 9), min_size=2, max_size=5), min_size=1, max_size=4
    )
)
def test_the_mean_is_over_iterations(times: dict[int, list[float]]):
    every = [seconds for found in times.values() for seconds in found[1:]]
    said = float(train_time(times, False)[3].split()[3])
    assert said == pytest.approx(sum(every) / len(every), abs=1e-4)


def test_curves_are_those_of_the_other_script(run: Path, tmp_path: Path):
    out = tmp_path / "curves.png"
    main(["plot_curve", str(run), "--keys", "loss", "--legend", "mine", "--out", str(out)])
    assert Image.open(out).width > 100
    page = out.with_suffix(".html").read_text(encoding="utf-8")
    assert "mine: 6 iterations" in page
    with pytest.raises(SystemExit, match=r"--keys los: no run has logged it.*Did you mean 'loss'"):
        main(["plot_curve", str(run), "--keys", "los", "--out", str(out)])


def test_what_has_no_times_is_named(run: Path, tmp_path: Path):
    with pytest.raises(SystemExit, match="gone does not exist"):
        main(["cal_train_time", str(tmp_path / "gone")])
    bare = write(tmp_path / "b", "20260101_000000", [{"loss": 1.0, "iter": 1, "epoch": 1}])
    with pytest.raises(SystemExit, match="no line has a time: keep default_hooks.timer"):
        main(["cal_train_time", str(bare)])
    single = write(tmp_path / "c", "20260101_000000", [line(1, 1, 1.0)])
    with pytest.raises(SystemExit, match="epoch 1 has one logged line.*--include-outliers"):
        main(["cal_train_time", str(single)])
