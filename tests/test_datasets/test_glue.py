"""GLUE's published files as text to text: columns, splits, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.glue_helpers import FORMS, text_of, write_glue
from uniadapter.datasets import GLUE, glue
from uniadapter.datasets.glue import as_target
from uniadapter.structures.glue import GLUE_TASKS

TASKS = list(GLUE_TASKS)
SOURCES = {
    "cola": "cola sentence: {a}",
    "sst2": "sst2 sentence: {a}",
    "mrpc": "mrpc sentence1: {a} sentence2: {b}",
    "qqp": "qqp question1: {a} question2: {b}",
    "mnli": "mnli premise: {a} hypothesis: {b}",
    "qnli": "qnli question: {a} sentence: {b}",
    "rte": "rte sentence1: {a} sentence2: {b}",
    "stsb": "stsb sentence1: {a} sentence2: {b}",
}
NUMBERS = {"entailment": "0", "neutral": "1", "contradiction": "2", "not_entailment": "1"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    root = tmp_path_factory.mktemp("glue")
    return root, {task: write_glue(root, task) for task in TASKS}


def samples(*args: Any, **options: Any) -> list[dict[str, Any]]:
    """What a split holds, without the collection of garbage that a whole dataset begins with."""
    return GLUE(*args, lazy_init=True, **options).load_data_list()


def source(task: str, part: str, row: int) -> str:
    a, b = (text_of(task, part, row, side) for side in "ab")
    return SOURCES[task].format(a=a, b=b)


@pytest.mark.parametrize("task", TASKS)
def test_texts_and_labels_come_from_their_columns(task, world):
    root, labels = world
    part = "dev_matched" if task == "mnli" else "dev"
    found = samples(task, "dev", str(root))
    assert [sample["text"] for sample in found] == [source(task, part, row) for row in range(7)]
    assert [sample["index"] for sample in found] == list(range(7))
    assert [sample["label"] for sample in found] == labels[task][part]
    for sample in found:
        label = sample["label"]
        want = NUMBERS.get(label, label)
        if task == "stsb":
            # In the nearest of the steps 0, 0.2 ... 5.
            assert abs(float(sample["target"]) - float(label)) <= 0.1 + 1e-9
            want = sample["target"]
        assert sample["target"] == want


@pytest.mark.parametrize("task", TASKS)
def test_test_files_have_no_labels(task, world):
    root, _ = world
    splits = {"unlabelled": "test_matched" if task == "mnli" else "test"}
    if task == "mnli":
        splits["unlabelled_mismatched"] = "test_mismatched"
    for split, part in splits.items():
        found = samples(task, split, str(root), test_mode=True)
        assert [sample["text"] for sample in found] == [source(task, part, i) for i in range(5)]
        assert [sample["index"] for sample in found] == list(range(5))
        assert not {"label", "target"} & set(found[0])


@pytest.mark.parametrize("task", TASKS)
def test_splits_are_those_of_the_protocol(task, world):
    root, _ = world
    few = {"held_out": 4} if task in ("sst2", "qqp", "qnli") else {}
    parts = {
        split: [s["text"] for s in samples(task, split, str(root), **few)]
        for split in ("train", "val", "test")
    }
    sizes = {split: len(texts) for split, texts in parts.items()}
    whole = {"train": 12, "val": 7, "test": 7}
    halved = {"train": 12, "val": 3, "test": 4}
    held = {"train": 8, "val": 4, "test": 7}
    wanted = dict.fromkeys(("cola", "mrpc", "rte", "stsb"), halved)
    wanted |= dict.fromkeys(("sst2", "qqp", "qnli"), held) | {"mnli": whole}
    assert sizes == wanted[task]
    texts = [text for part in parts.values() for text in part]
    assert len(set(texts)) == len(texts)
    files = {split: {text.split()[3] for text in part} for split, part in parts.items()}
    if task == "mnli":
        files = {split: {text.split()[3] for text in part} for split, part in parts.items()}
        assert files["val"] == {"dev_mismatched"}
        assert files["test"] == {"dev_matched"}
    elif task in ("sst2", "qqp", "qnli"):
        assert files["val"] == files["train"] == {"train"}
    else:
        assert files["val"] == files["test"] == {"dev"}


def test_a_division_is_drawn_by_its_documented_seed(world):
    root, _ = world
    for task, count, first in (("rte", 7, 3), ("qnli", 12, 5)):
        for seed in (0, 1, 7):
            order = np.random.RandomState(seed).permutation(count)[:first].tolist()
            few = {"held_out": 5} if task == "qnli" else {}
            chosen = samples(task, "val", str(root), seed=seed, **few)
            assert [sample["index"] for sample in chosen] == sorted(order)


@given(st.floats(0, 5))
def test_a_score_is_written_in_steps_of_a_fifth(score):
    target = as_target(GLUE_TASKS["stsb"], repr(score))
    steps = [f"{step / 5:.1f}" for step in range(26)]
    assert target in steps
    best = min(abs(float(step) - score) for step in steps)
    assert abs(float(target) - score) <= best + 1e-9


def test_broken_lines_of_qqp_are_left_out_and_counted(tmp_path, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(glue, "print_log", lambda text, *_: said.append(text))
    write_glue(tmp_path, "qqp")
    path = tmp_path / "QQP" / "dev.tsv"
    lines = path.read_text().splitlines()
    lines[3:4] = ["2\t1\t2\ta question with", "a line break?\tother?\t1", "", "   "]
    path.write_text("\n".join(lines))
    found = samples("qqp", "dev", str(tmp_path))
    kept = [0, 1, 3, 4, 5, 6]
    assert [sample["text"] for sample in found] == [source("qqp", "dev", row) for row in kept]
    assert [sample["index"] for sample in found] == list(range(6))
    assert len(said) == 1
    assert "3 lines have too few fields" in said[0]
    assert "line 4" in said[0]


@pytest.mark.parametrize("task", TASKS)
def test_another_tasks_file_is_refused(task, world, tmp_path):
    root, _ = world
    folder = tmp_path / FORMS[task][0]
    folder.mkdir()
    for other in TASKS:
        if other == task or other == "mnli" or FORMS[other][1] == FORMS[task][1]:
            continue
        name = "dev_matched.tsv" if task == "mnli" else "dev.tsv"
        text = (root / FORMS[other][0] / "dev.tsv").read_text()
        (folder / name).write_text(text)
        with pytest.raises(ValueError, match=f"{name}: line 1"):
            samples(task, "dev", str(tmp_path))


def faulty(root: Path, task: str, line: int, text: str) -> None:
    path = root / FORMS[task][0] / "dev.tsv"
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines))


@pytest.mark.parametrize(
    ("task", "line", "text", "match"),
    [
        ("cola", 2, "gj04\t2\t\tA text.", r"line 2: label '2' is none of \['0', '1'\]"),
        ("cola", 3, "gj04\t1\tA text.", "line 3 has 3 fields, expected at least 4"),
        ("rte", 4, "2\ta\tb\tneutral", "line 4: label 'neutral' is none of"),
        ("rte", 4, "2\ta\tb", "line 4 has 3 fields, expected at least 4"),
        ("stsb", 2, "0\tn\tf\t1\t0\tn\tn\ta\tb\t5.1", "line 2: score '5.1' is no number from 0 to"),
        ("stsb", 2, "0\tn\tf\t1\t0\tn\tn\ta\tb\tnan", "line 2: score 'nan' is no number from 0"),
        ("stsb", 2, "0\tn\tf\t1\t0\tn\tn\ta\tb\thigh", "line 2: score 'high' is no number"),
        ("sst2", 1, "text\tlabel", "line 1: column 0 is 'text', not 'sentence'"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(task, line, text, match, tmp_path):
    write_glue(tmp_path, task)
    faulty(tmp_path, task, line, text)
    with pytest.raises(ValueError, match=match):
        samples(task, "dev", str(tmp_path))


def test_files_that_are_not_there_or_not_text(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"RTE.dev.tsv' does not exist"):
        samples("rte", "dev", str(tmp_path))
    write_glue(tmp_path, "rte")
    (tmp_path / "RTE" / "dev.tsv").write_bytes(b"index\tsentence1\tsentence2\tlabel\n\xff\xfe")
    with pytest.raises(ValueError, match="not UTF-8 text"):
        samples("rte", "dev", str(tmp_path))
    (tmp_path / "RTE" / "dev.tsv").write_text("index\tsentence1\tsentence2\tlabel\n")
    with pytest.raises(ValueError, match="no sample for split='dev'"):
        samples("rte", "dev", str(tmp_path))
    (tmp_path / "RTE" / "test.tsv").write_text("index\tsentence1\tsentence2\nx\ta\tb\n")
    with pytest.raises(ValueError, match="line 2: index 'x' is no whole number"):
        samples("rte", "unlabelled", str(tmp_path), test_mode=True)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"task": "wnli"}, "GLUE.task='wnli' is unknown: choose from"),
        ({"split": "validation"}, "split='validation' is unknown: choose from"),
        ({"split": "dev_mismatched"}, "is one of MNLI alone, not of 'rte'"),
        ({"split": "unlabelled"}, "has no labels to train on: set test_mode"),
        ({"task": "qnli", "held_out": 12}, "nothing is left to train on"),
        ({"task": "sst2", "held_out": 0}, "held_out=0 must be at least 1"),
        ({"held_out": 500}, "'rte' validates on a development set: leave it out"),
        ({"indices": []}, "leaves no item"),
    ],
)
def test_options_that_do_not_fit(options, match, world):
    root, _ = world
    with pytest.raises(ValueError, match=match):
        samples(**{"task": "rte", "split": "train", "data_root": str(root), **options})


def test_a_sample_passes_the_pipeline(world):
    root, _ = world
    dataset = GLUE(
        "rte", "train", str(root), pipeline=[{"type": "uniadapter.PackTexts"}], indices=3
    )
    assert len(dataset) == 3
    sample = dataset[2]["data_samples"]
    assert sample.text == source("rte", "train", 2)
    assert (sample.index, sample.label) == (2, dataset.get_data_info(2)["label"])
