"""Tools that read files, on files with all that can be wrong in them: one message, no traceback."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.helpers import draws, load_tool
from tests.malformed import DEEP, Content, Lines, encoded, outcome, spoiled
from uniadapter.apis.pictures import RankingPictures, ranking_report, read_ranking
from uniadapter.datasets.feature_stores.writing import hdf5_bytes, npz_bytes, parquet_bytes
from uniadapter.visualization.logs import read_curves, read_times

RANKING = {
    "texts": ["one", "two"],
    "media": [{"id": f"video{n}", "path": f"video{n}.png"} for n in range(2)],
    "positives": [0, 1],
    "top": [[[0, 1.0], [1, 0.5]], [[0, 1.0], [1, 0.5]]],
    "ranks": [1, 2],
}
VIDEOS = {"videos": [{"video_id": f"video{n}", "category": n} for n in range(2)]}
TRUTH = {
    "images": [{"id": n} for n in (1, 2)],
    "annotations": [{"image_id": n, "caption": "a dog runs", "id": n} for n in (1, 2)],
}
RESULTS = [{"image_id": n, "caption": "a dog"} for n in (1, 2)]
LOG = Lines(
    [{"lr": 0.1, "loss": 1.5, "time": 0.2, "epoch": 1, "iter": n, "step": n} for n in (1, 2, 3)]
    + [{"t2v/R1": 5.0, "step": 1}]
)
QUESTIONS = [{"question": "is it?", "answer": ["yes", "no", "yes"]}, {"answer": "no"}]
FEATURES = np.ones((2, 3), np.float16)


def tool(script: str) -> Callable[..., Any]:
    """The command of a script as a function of its arguments."""
    main = load_tool(script).main

    def call(*arguments: str | Path) -> Any:
        try:
            return main([str(argument) for argument in arguments]) or 0
        except SystemExit as end:
            if not isinstance(end.code, str) or not end.code.startswith("error: "):
                raise AssertionError(f"{script} ended with {end.code!r}") from end
            raise ValueError(end.code) from end

    return call


#: By name: what reads the files of a folder, and right files.
READERS: dict[str, tuple[Callable[[Path], Any], dict[str, Content]]] = {
    "recall_by_category": (
        lambda folder: tool("analysis_tools/recall_by_category.py")(
            folder / "r.json", folder / "v.json"
        ),
        {"r.json": RANKING, "v.json": VIDEOS},
    ),
    "draw_rankings": (
        lambda folder: ranking_report(
            read_ranking(folder / "r.json"), "a test", RankingPictures(2, 2, 1, 8)
        ),
        {"r.json": RANKING},
    ),
    "score_captions": (
        lambda folder: tool("analysis_tools/score_captions.py")(
            folder / "t.json", folder / "r.json"
        ),
        {"t.json": TRUTH, "r.json": RESULTS},
    ),
    "draw_curves": (lambda folder: read_curves(folder / "l.json"), {"l.json": LOG}),
    "analyze_logs": (
        lambda folder: tool("analysis_tools/analyze_logs.py")("cal_train_time", folder / "l.json"),
        {"l.json": LOG},
    ),
    "build_answer_list": (
        lambda folder: tool("dataset_converters/build_answer_list.py")(
            folder / "q.json", "--out", folder / "out.json"
        ),
        {"q.json": QUESTIONS},
    ),
    "msvd_captions": (
        lambda folder: tool("dataset_converters/msvd_captions.py")(folder / "c.pkl"),
        {"c.pkl": pickle.dumps({"a": [["a", "dog"]], "b": [["cats"]]}, protocol=2)},
    ),
    **{
        kind: (
            lambda folder, kind=kind: tool("dataset_converters/convert_features.py")(
                kind, folder / "in", "npz", folder / "out"
            ),
            files,
        )
        for kind, files in {
            "npz": {f"in/{n}.npz": npz_bytes(FEATURES) for n in "ab"},
            "hdf5": {f"in/{n}.h5": hdf5_bytes(n, FEATURES) for n in "ab"},
            "parquet": {"in/0.parquet": parquet_bytes({n: FEATURES for n in "ab"})},
        }.items()
    },
}
_numbers = itertools.count()


def write(folder: Path, files: dict[str, Content]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(content))
    return folder


@pytest.fixture(autouse=True)
def _pictures(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(2):
        Image.new("RGB", (8, 8)).save(folder / f"video{number}.png")
    monkeypatch.chdir(folder)


@pytest.mark.parametrize("name", READERS)
def test_right_files(name: str, tmp_path: Path):
    call, files = READERS[name]
    assert call(write(tmp_path, files)) is not None


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=draws(4, deep=100))
@given(data=st.data())
def test_malformed_files(name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory):
    call, files = READERS[name]
    folder = write(tmp_path_factory.getbasetemp() / f"tools{next(_numbers)}", files)
    spoil = data.draw(st.sampled_from(sorted(files)), "file")
    (folder / spoil).write_bytes(data.draw(spoiled(files[spoil]), "content"))
    outcome(lambda: call(folder), folder, own=ValueError)


# Inputs that ended in a traceback, or in nothing that names the file.
FOUND: list[tuple[str, str, Content]] = [
    *((name, sorted(files)[0], DEEP.encode()) for name, (_, files) in READERS.items()),
    ("recall_by_category", "v.json", {"videos": [{"video_id": "video0"}]}),
    ("recall_by_category", "r.json", {**RANKING, "positives": [0, 7]}),
    ("draw_rankings", "r.json", {**RANKING, "media": [{"id": "a"}]}),
    ("draw_rankings", "r.json", {**RANKING, "top": [[[0, None]], []]}),
    ("draw_rankings", "r.json", {**RANKING, "ranks": [1]}),
    ("score_captions", "t.json", {**TRUTH, "images": 3}),
    ("score_captions", "r.json", {"image_id": 1}),
    ("draw_curves", "l.json", Lines([{"iter": "1", "loss": 1}, {"iter": [], "loss": 1}])),
    ("analyze_logs", "l.json", Lines([{"iter": 1, "time": 1, "epoch": "x"}] * 2)),
]


@pytest.mark.parametrize(("name", "file", "content"), FOUND)
def test_found_before(name: str, file: str, content: Content, tmp_path: Path):
    call, files = READERS[name]
    write(tmp_path, {**files, file: content})
    assert outcome(lambda: call(tmp_path), tmp_path, own=ValueError) is None


def test_numbers_that_no_float_holds_are_none(tmp_path: Path):
    log = Lines([{"iter": 1, "loss": 10**400, "time": 0.1}, {"iter": 2, "loss": 2.0, "time": 0.1}])
    write(tmp_path, {"l.json": log})
    assert np.isnan(read_curves(tmp_path / "l.json")["loss"].values[0])
    assert list(read_times(tmp_path / "l.json")) == [1]
