from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from uniadapter.visualization.logs import log_files, read_curves


def write(folder: Path, date: str, lines: list[dict], end: str = "\n") -> Path:
    path = folder / date / "vis_data" / "scalars.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(line) for line in lines) + end)
    path.with_name(f"{date}.json").write_text(path.read_text())
    return path


def train(iteration: int, loss: float) -> dict:
    line = {"loss": loss, "lr": 0.1, "time": 1.0, "data_time": 0.1, "memory": 5}
    return {**line, "iter": iteration, "epoch": 1, "step": iteration}


@settings(max_examples=draws(20))
@given(
    st.lists(
        st.tuples(st.integers(1, 30), st.lists(st.floats(-5, 5), min_size=1, max_size=8)),
        min_size=1,
        max_size=4,
    )
)
def test_what_was_computed_again_takes_the_place(tmp_path_factory, pieces: list):
    folder, wanted = tmp_path_factory.mktemp("run"), {}
    for number, (start, losses) in enumerate(pieces):
        lines = [train(start + i, loss) for i, loss in enumerate(losses)]
        write(folder, f"2026010{number}_000000", lines)
        wanted = {i: loss for i, loss in wanted.items() if i < start}
        wanted |= {start + i: loss for i, loss in enumerate(losses)}
    curve = read_curves(folder)["loss"]
    assert dict(zip(curve.iterations, curve.values, strict=True)) == wanted
    assert curve.iterations == sorted(wanted)


def test_a_validation_belongs_to_the_iteration_before_it(tmp_path: Path):
    lines = [train(50, 2.0), train(100, 1.0), {"t2v/R1": 3.0, "step": 1}, train(150, 0.5)]
    write(tmp_path, "20260101_000000", lines)
    # A test's own folder.
    write(tmp_path, "20260102_000000", [{"t2v/R1": 9.0, "step": 0}])
    curves = read_curves(tmp_path)
    assert set(curves) == {"loss", "lr", "t2v/R1"}
    assert (curves["t2v/R1"].iterations, curves["t2v/R1"].values) == ([100], [3.0])


def test_what_is_named_may_be_a_folder_or_a_file(tmp_path: Path):
    path = write(tmp_path, "20260101_000000", [train(50, 2.0)])
    names = (tmp_path, tmp_path / "20260101_000000", path.parent, path)
    assert [log_files(name) for name in names] == [[path]] * 4


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path):
    path = write(
        tmp_path, "20260101_000000", [train(50, 2.0), train(100, math.nan)], '\n{"loss": 1'
    )
    curve = read_curves(path)["loss"]
    assert curve.iterations == [50, 100]
    assert math.isnan(curve.values[1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no iteration of a training was logged"),
        ('{"t2v/R1": 1.0, "step": 0}\n', "no iteration of a training was logged"),
        ('{"loss": \n{"loss": 1, "iter": 2}\n', "line 1 is no JSON"),
        ("[1, 2]\n{}\n", "line 1 is no JSON object"),
    ],
)
def test_bad_logs_are_named(tmp_path: Path, text: str, message: str):
    path = tmp_path / "scalars.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_curves(path)
    assert str(path) in str(error.value)


def test_no_log_is_an_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_curves(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="no folder of a training"):
        read_curves(tmp_path)
