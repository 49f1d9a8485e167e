"""Every data set on files with all that can be wrong in them: it loads, or names the file."""

from __future__ import annotations

import gc
import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import draws
from tests.malformed import DEEP, NESTED, Content, Lines, Text, encoded, outcome, spoiled
from tests.malformed_cases import BLIP, CASES, FEATURES, Case, with_box
from uniadapter.datasets.feature_stores.writing import npz_bytes
from uniadapter.registry import DATASETS, register_all_modules

PARAMETERS = [
    pytest.param(name, case, id=f"{name}{number or ''}")
    for name, cases in CASES.items()
    for number, case in enumerate(cases)
]
_numbers = itertools.count()


@pytest.fixture(scope="module", autouse=True)
def _registered() -> Iterator[None]:
    register_all_modules()
    # MMEngine collects garbage for every data set, and looks at all modules for that each time.
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def test_every_data_set_is_here():
    own = {
        name
        for name, kind in DATASETS.module_dict.items()
        if kind.__module__.startswith("uniadapter.")
    }
    assert own == set(CASES), "give the new data set an entry of right files"


def build(name: str, case: Case, folder: Path, test_mode: bool) -> Any:
    """The data set on the files of a folder."""
    options = {"type": name, "data_root": str(folder), "test_mode": test_mode, **case.options}
    if name == "JointDataset":
        datasets = {
            task: {**inner, "data_root": str(folder), "test_mode": test_mode}
            for task, inner in case.options["datasets"].items()
        }
        return DATASETS.build({"type": name, "datasets": datasets})
    if options.get("data_prefix", "") is None or name in ("GLUE",) or "features" in options:
        options.pop("data_prefix", None)
    else:
        options.setdefault("data_prefix", {"media": "media"})
    return DATASETS.build(options)


def write(case: Case, folder: Path) -> Path:
    (folder / "media").mkdir(parents=True)
    (folder / "train" / "images").mkdir(parents=True)
    for name, content in case.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(content))
    return folder


TEXTS = ("text", "question", "media_path", "video_id", "target", "identifier")
LISTS = ("texts", "answers", "gt_captions", "choices")
IDS = ("question_id", "image_id", "clip_id")


def assert_well_typed(item: dict[str, Any]) -> None:
    """What every reader of an item counts on."""
    for key in TEXTS:
        assert isinstance(item.get(key, ""), str), (key, item)
    for key in LISTS:
        assert all(isinstance(value, str) for value in item.get(key, ())), (key, item)
    for key in IDS:
        assert type(item.get(key, 0)) in (int, str), (key, item)
    numbers = [*item.get("answer_weights", ()), *item.get("gt_scores", {}).values()]
    numbers += [*item.get("box", ()), *item.get("gt_box", ()), item.get("target_weight", 0.0)]
    assert all(type(number) is float and math.isfinite(number) for number in numbers), item
    if "features" in item:
        assert item["features"].dtype == np.float32
        assert np.isfinite(item["features"]).all()


def read_all(name: str, case: Case, folder: Path, test_mode: bool) -> int:
    """Build the data set and read every item that needs no medium."""
    dataset = build(name, case, folder, test_mode)
    assert len(dataset) > 0
    for index in range(len(dataset)):
        assert_well_typed(dataset.get_data_info(index))
        if "features" in case.options or name == "TextToTextJson":
            assert_well_typed(dataset[index])
    return len(dataset)


@pytest.mark.parametrize(("name", "case"), PARAMETERS)
def test_right_files(name: str, case: Case, tmp_path: Path):
    write(case, tmp_path)
    assert all(read_all(name, case, tmp_path, mode) > 0 for mode in case.modes)


# What is wrong with a whole file, and was no error of ours, or one that named no file.
FOUND = [DEEP, "9" * 5000, json.dumps(NESTED)]
# The same of one value: the case, the file, and what stands in it.
FOUND_VALUES: list[tuple[str, int, str, Content]] = [
    ("FeatureVideoQA", 0, "subtitles.jsonl", Lines([{"vid_name": "a", "sub": True}])),
    ("ReferringExpressions", 0, "refcoco_val.json", with_box([10**400, 0, 1, 1])),
    ("ReferringExpressions", 0, "refcoco_val.json", with_box([0, 0, 1e308, 1])),
    ("StillCaptionDataset", 0, "x.json", ["ab", "c"]),
    ("StillCaptionDataset", 0, "x.json", [7, ["c"]]),
    ("StillCaptionDataset", 0, "x.npy", b""),
    ("StillCaptionDataset", 0, "x.npy", npz_bytes(FEATURES)),
    ("PrecompRetrieval", 0, "x_ids.txt", Text("7\n" + "8" * 5000)),
    ("GLUE", 4, "RTE/test.tsv", Text("index\tsentence1\tsentence2\n" + "7" * 5000 + "\ta\tb")),
    ("RetrievalJsonDataset", 0, "x.jsonl", Lines([{"media": "a\0b", "text": "a dog"}])),
    ("MSRVTTRetrieval", 0, "x.csv", Text("video_id,sentences\nvideo1,a dog\n")),
]


@pytest.mark.parametrize(("name", "case"), PARAMETERS)
@settings(max_examples=draws(6, deep=100))
@given(data=st.data())
def test_malformed_files(name: str, case: Case, data: st.DataObject, tmp_path_factory):
    folder = write(case, tmp_path_factory.getbasetemp() / f"malformed{next(_numbers)}")
    spoil = data.draw(st.sampled_from(case.reads), "file")
    content = data.draw(spoiled(case.files[spoil]), "content")
    (folder / spoil).write_bytes(content)
    mode = data.draw(st.sampled_from(case.modes), "test_mode")
    outcome(lambda: read_all(name, case, folder, mode), folder)


@pytest.mark.parametrize(("name", "case"), PARAMETERS)
@pytest.mark.parametrize("content", FOUND, ids=["deep", "digits", "nested"])
def test_found_before(name: str, case: Case, content: str, tmp_path: Path):
    write(case, tmp_path)
    for file in case.reads:
        right = (tmp_path / file).read_bytes()
        (tmp_path / file).write_text(content)
        for mode in case.modes:
            outcome(lambda mode=mode: read_all(name, case, tmp_path, mode), tmp_path)
        (tmp_path / file).write_bytes(right)


@pytest.mark.parametrize(("name", "number", "file", "content"), FOUND_VALUES)
def test_a_value_found_before(name: str, number: int, file: str, content: Content, tmp_path: Path):
    case = CASES[name][number]
    write(case, tmp_path)
    (tmp_path / file).write_bytes(encoded(content))
    for mode in case.modes:
        found = outcome(lambda mode=mode: read_all(name, case, tmp_path, mode), tmp_path)
        assert found is None


def test_a_long_number_in_a_name_is_no_identifier(tmp_path: Path):
    """Python converts no number of so many digits; the name itself identifies the picture."""
    case = CASES["KarpathyRetrieval"][0]
    write(case, tmp_path)
    (tmp_path / "x.json").write_text(json.dumps([{**BLIP[1], "image_id": "coco_" + "7" * 5000}]))
    assert read_all("KarpathyRetrieval", case, tmp_path, True) == 1
